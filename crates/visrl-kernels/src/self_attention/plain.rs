//! The attention in tensor operations.

use burn::tensor::Tensor;

use super::op::SelfAttention;
use crate::half::in_f32;
use crate::masked_softmax::{Mask, masked_softmax};

pub(super) fn self_attention(op: &SelfAttention, qkv: Tensor<2>) -> Tensor<2> {
    let width = qkv.dims()[1] / 3;
    let (heads, dim) = (op.heads, width / op.heads);
    let part = |index: usize| qkv.clone().narrow(1, index * width, width);
    let turned = |index: usize| in_f32(part(index), |part| op.rotation.apply(part));
    let queries = turned(0) / (dim as f64).sqrt();
    let (keys, values) = (turned(1), part(2));
    let mut parts = Vec::new();
    let mut start = 0;
    for run in op.runs.sizes().chunk_by(|a, b| a == b) {
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
