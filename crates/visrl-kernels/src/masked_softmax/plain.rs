//! The softmax in tensor operations.

use burn::tensor::activation::softmax;
use burn::tensor::{Tensor, TensorData};

use super::mask::Mask;
use crate::half::in_f32;

/// A score so low that its probability is 0.
const MASKED: f32 = -1e30;

pub(super) fn masked_softmax<const D: usize>(scores: Tensor<D>, mask: Mask) -> Tensor<D> {
    in_f32(scores, |scores| softmax_of(scores, mask))
}

fn softmax_of<const D: usize>(scores: Tensor<D>, mask: Mask) -> Tensor<D> {
    let Mask::Causal { len, .. } = mask else {
        return softmax(scores, D - 1);
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
    softmax(scores, 2).reshape(dims)
}
