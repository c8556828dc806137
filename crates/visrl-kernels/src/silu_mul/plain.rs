//! The gated activation in tensor operations.

use burn::tensor::Tensor;
use burn::tensor::activation::silu;

pub(super) fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    silu(gate) * up
}
