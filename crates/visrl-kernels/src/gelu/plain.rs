//! The activations in tensor operations.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu as exact, sigmoid};

use super::op::Gelu;

pub(super) fn gelu<const D: usize>(kind: Gelu, x: Tensor<D>) -> Tensor<D> {
    match kind {
        Gelu::Quick => x.clone() * sigmoid(x * 1.702),
        Gelu::Exact => exact(x),
    }
}
