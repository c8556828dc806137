//! The gated activation in tensor operations.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

use crate::half::in_f32;

pub(super) fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    in_f32(gate, silu) * up
}
