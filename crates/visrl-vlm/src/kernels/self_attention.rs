//! Attention of patches to those of their own run, from the projection to the mixed values.

use burn::tensor::Tensor;

use super::{Mask, Turn, masked_softmax};

#[cfg(feature = "flex")]
use super::flex;

/// What a layer of self-attention without a cache does.
#[derive(Clone, Debug)]
pub struct SelfAttention {
    /// The rotation of queries and keys.
    pub turn: Turn,
    /// The lengths of the runs, in order.
    pub sizes: Vec<usize>,
    /// The number of heads.
    pub heads: usize,
}

impl SelfAttention {
    /// `softmax(q k^T / sqrt(dim)) v` in each head and run, for queries, keys and values side by
    /// side, `[tokens, 3 width]`; gives `[tokens, width]`.
    pub fn apply(&self, qkv: Tensor<2>) -> Tensor<2> {
        #[cfg(feature = "flex")]
        {
            match flex::run(self, [qkv.into_dispatch()]) {
                Ok(output) => output,
                Err([qkv]) => self.plain(Tensor::from_dispatch(qkv)),
            }
        }
        #[cfg(not(feature = "flex"))]
        self.plain(qkv)
    }

    /// The same in tensor operations.
    pub(super) fn plain(&self, qkv: Tensor<2>) -> Tensor<2> {
        let width = qkv.dims()[1] / 3;
        let (heads, dim) = (self.heads, width / self.heads);
        let part = |index: usize| qkv.clone().narrow(1, index * width, width);
        let queries = self.turn.apply(part(0)) / (dim as f64).sqrt();
        let (keys, values) = (self.turn.apply(part(1)), part(2));
        let mut parts = Vec::new();
        let mut start = 0;
        for run in self.sizes.chunk_by(|a, b| a == b) {
            let (count, size) = (run.len(), run[0]);
            let cut = |tensor: &Tensor<2>| {
                let tensor = tensor.clone().narrow(0, start, count * size);
                tensor.reshape([count, size, heads, dim]).swap_dims(1, 2)
            };
            let scores = cut(&queries).matmul(cut(&keys).swap_dims(2, 3));
            let mixed = masked_softmax(scores, Mask::Full).matmul(cut(&values));
            parts.push(mixed.swap_dims(1, 2).reshape([count * size, width]));
            start += count * size;
        }
        Tensor::cat(parts, 0)
    }
}

#[cfg(feature = "flex")]
mod on_flex {
    use burn::backend::Flex;
    use burn::backend::flex::Layout;
    use burn::backend::ops::FloatTensorOps;
    use burn::tensor::Shape;

    use super::SelfAttention;
    use crate::kernels::flex::{self, Fused, Host};
    use crate::kernels::slices;
    use crate::kernels::softmax::{Mask, MaskedSoftmax};

    /// Runs of one size: the first token, their number and their size.
    type Runs = (usize, usize, usize);

    impl SelfAttention {
        fn runs(&self) -> Vec<Runs> {
            let mut start = 0;
            let runs = self.sizes.chunk_by(|a, b| a == b).map(|run| {
                let runs = (start, run.len(), run[0]);
                start += run.len() * run[0];
                runs
            });
            runs.collect()
        }

        /// One of `parts` tensors that lie side by side, as `[runs, heads, size, dim]`.
        fn view(&self, side: &Host, runs: Runs, part: usize, parts: usize) -> Host {
            let (start, count, size) = runs;
            let row = flex::width(side);
            let width = row / parts;
            let dim = width / self.heads;
            let strides = [size * row, dim, row, 1].map(|stride| stride as isize);
            let layout = Layout::new(
                Shape::from(vec![count, self.heads, size, dim]),
                strides.to_vec(),
                start * row + part * width,
            );
            Host::from_arc(side.data_arc(), layout, side.dtype())
        }

        /// Writes `[runs, heads, size, dim]` to its place among `parts` tensors side by side.
        fn put(&self, from: &Host, runs: Runs, part: usize, parts: usize, to: &mut [f32]) {
            let (start, count, size) = runs;
            let dim = flex::width(from);
            let width = dim * self.heads;
            let row = parts * width;
            let rows = &mut to[start * row..(start + count * size) * row];
            let from = flex::read(from);
            for (run, rows) in rows.chunks_exact_mut(size * row).enumerate() {
                for (token, row) in rows.chunks_exact_mut(row).enumerate() {
                    let heads = row[part * width..(part + 1) * width].chunks_exact_mut(dim);
                    for (head, out) in heads.enumerate() {
                        let at = ((run * self.heads + head) * size + token) * dim;
                        out.copy_from_slice(&from[at..at + dim]);
                    }
                }
            }
        }

        fn scale(&self, width: usize) -> f32 {
            1.0 / ((width / self.heads) as f32).sqrt()
        }
    }

    /// The last two axes swapped.
    fn transposed(tensor: Host) -> Host {
        let layout = tensor.layout();
        let (mut shape, mut strides) = (
            layout.shape().as_slice().to_vec(),
            layout.strides().to_vec(),
        );
        let last = shape.len() - 1;
        shape.swap(last - 1, last);
        strides.swap(last - 1, last);
        let layout = Layout::new(Shape::from(shape), strides, layout.start_offset());
        tensor.with_layout(layout)
    }

    impl Fused<1> for SelfAttention {
        /// Queries (turned and scaled), keys (turned) and values side by side, and the
        /// probabilities of the runs.
        type Saved = (Host, Vec<Host>);

        fn forward(&self, inputs: [Host; 1]) -> Host {
            self.forward_saving(inputs).0
        }

        fn forward_saving(&self, [qkv]: [Host; 1]) -> (Host, Self::Saved) {
            let mut qkv = flex::owned(qkv);
            let row = flex::width(&qkv);
            let width = row / 3;
            let scale = self.scale(width);
            slices::rows1(
                row,
                qkv.storage_mut(),
                #[inline(always)]
                |first, rows| {
                    for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                        self.turn.turn_row(token, &mut row[..2 * width], 1.0);
                        row[..width].iter_mut().for_each(|x| *x *= scale);
                    }
                },
            );
            let tokens = flex::read(&qkv).len() / row.max(1);
            let mut out = vec![0.0; tokens * width];
            let mut kept = Vec::new();
            for runs in self.runs() {
                let [queries, keys, values] = [0, 1, 2].map(|i| self.view(&qkv, runs, i, 3));
                let scores = Flex::float_matmul(queries, transposed(keys));
                let weights = MaskedSoftmax(Mask::Full).forward([scores]);
                let mixed = Flex::float_matmul(weights.clone(), values);
                self.put(&mixed, runs, 0, 1, &mut out);
                kept.push(weights);
            }
            let out = flex::from_vec(out, Shape::from(vec![tokens, width]));
            (out, (qkv, kept))
        }

        /// With P the probabilities, S the scores and O the result: `d v = P^T d O`,
        /// `d P = d O v^T`, `d q = d S k` and `d k = d S^T q`.
        fn backward(&self, (qkv, kept): Self::Saved, grad: Host, _: [bool; 1]) -> [Host; 1] {
            let grad = flex::in_order(grad);
            let row = flex::width(&qkv);
            let width = row / 3;
            let tokens = flex::read(&grad).len() / width.max(1);
            let mut out = vec![0.0; tokens * row];
            for (runs, weights) in self.runs().into_iter().zip(kept) {
                let [queries, keys, values] = [0, 1, 2].map(|i| self.view(&qkv, runs, i, 3));
                let grad = self.view(&grad, runs, 0, 1);
                let d_values = Flex::float_matmul(transposed(weights.clone()), grad.clone());
                self.put(&d_values, runs, 2, 3, &mut out);
                let d_weights = Flex::float_matmul(grad, transposed(values));
                let [d_scores] = MaskedSoftmax(Mask::Full).backward(weights, d_weights, [true]);
                let d_keys = Flex::float_matmul(transposed(d_scores.clone()), queries);
                self.put(&d_keys, runs, 1, 3, &mut out);
                self.put(&Flex::float_matmul(d_scores, keys), runs, 0, 3, &mut out);
            }
            let scale = self.scale(width);
            slices::rows1(
                row,
                &mut out,
                #[inline(always)]
                |first, rows| {
                    for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                        row[..width].iter_mut().for_each(|x| *x *= scale);
                        self.turn.turn_row(token, &mut row[..2 * width], -1.0);
                    }
                },
            );
            [flex::from_vec(out, Shape::from(vec![tokens, row]))]
        }
    }
}
