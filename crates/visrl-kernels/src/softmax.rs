//! Softmax over the last axis, with a causal mask.

use burn::tensor::activation::softmax as softmax_of;
use burn::tensor::{Tensor, TensorData};

#[cfg(feature = "flex")]
use super::{
    exp::exp,
    flex::{self, Fused, Host},
    slices,
};

/// Which columns a row of scores may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mask {
    /// All.
    Full,
    /// Row `r` stands for new token `r % len`, which sees the `past` columns before the new tokens'
    /// own and those up to itself.
    Causal {
        /// Number of new tokens.
        len: usize,
        /// Number of columns before theirs.
        past: usize,
    },
}

impl Mask {
    /// The number of columns, from the first, that a row sees.
    fn visible(self, row: usize, columns: usize) -> usize {
        match self {
            Self::Full => columns,
            Self::Causal { len, past } => (past + row % len + 1).min(columns),
        }
    }
}

/// A score so low that its probability is 0.
const MASKED: f32 = -1e30;

/// Softmax over the last axis of scores `[.., rows, columns]`; `len` of a causal mask divides
/// `rows`.
pub fn masked_softmax<const D: usize>(scores: Tensor<D>, mask: Mask) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        match flex::run(&MaskedSoftmax(mask), [scores.into_dispatch()]) {
            Ok(output) => output,
            Err([scores]) => plain(Tensor::from_dispatch(scores), mask),
        }
    }
    #[cfg(not(feature = "flex"))]
    plain(scores, mask)
}

/// The same in tensor operations.
pub(super) fn plain<const D: usize>(scores: Tensor<D>, mask: Mask) -> Tensor<D> {
    let Mask::Causal { len, .. } = mask else {
        return softmax_of(scores, D - 1);
    };
    let dims = scores.dims();
    let columns = dims[D - 1];
    let added: Vec<f32> = (0..len)
        .flat_map(|row| {
            let visible = mask.visible(row, columns);
            (0..columns).map(move |column| if column < visible { 0.0 } else { MASKED })
        })
        .collect();
    let added = TensorData::new(added, [1, len, columns]);
    let added = Tensor::<3>::from_data(added, &scores.device()).cast(scores.dtype());
    let scores = scores.reshape([-1, len as i64, columns as i64]) + added;
    softmax_of(scores, 2).reshape(dims)
}

#[cfg(feature = "flex")]
#[derive(Clone, Debug)]
pub(super) struct MaskedSoftmax(pub(super) Mask);

#[cfg(feature = "flex")]
impl Fused<1> for MaskedSoftmax {
    type Saved = Host;

    fn forward(&self, [scores]: [Host; 1]) -> Host {
        let mut scores = flex::owned(scores);
        let columns = flex::width(&scores);
        slices::rows1(
            columns,
            scores.storage_mut(),
            #[inline(always)]
            |first, rows| {
                for (row, values) in (first..).zip(rows.chunks_exact_mut(columns)) {
                    let visible = self.0.visible(row, columns);
                    let (seen, hidden) = values.split_at_mut(visible);
                    hidden.fill(0.0);
                    let largest = slices::maximum(seen);
                    let sum = slices::map_and_sum(
                        seen,
                        #[inline(always)]
                        |x| exp(x - largest),
                    );
                    let scale = 1.0 / sum;
                    for x in seen {
                        *x *= scale;
                    }
                }
            },
        );
        scores
    }

    fn forward_saving(&self, inputs: [Host; 1]) -> (Host, Host) {
        let output = self.forward(inputs);
        (output.clone(), output)
    }

    /// With p the result, `d x = p (d p - sum(p d p))`.
    fn backward(&self, output: Host, grad: Host, _: [bool; 1]) -> [Host; 1] {
        let mut grad = flex::owned(grad);
        let output = flex::in_order(output);
        let columns = flex::width(&grad);
        slices::rows2(
            columns,
            grad.storage_mut(),
            flex::read(&output),
            #[inline(always)]
            |first, d, p| {
                let rows = d.chunks_exact_mut(columns).zip(p.chunks_exact(columns));
                for (row, (d, p)) in (first..).zip(rows) {
                    let visible = self.0.visible(row, columns);
                    let (d, hidden) = d.split_at_mut(visible);
                    hidden.fill(0.0);
                    let p = &p[..visible];
                    let dot = slices::sum2(
                        d,
                        p,
                        #[inline(always)]
                        |d, p| d * p,
                    );
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = p * (*d - dot);
                    }
                }
            },
        );
        [grad]
    }
}
