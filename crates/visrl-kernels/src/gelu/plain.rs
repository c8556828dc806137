//! The activations in tensor operations.

use burn::tensor::Tensor;
use burn::tensor::activation::{gelu as exact, sigmoid};

use super::op::{Gelu, TANH_CUBE, TANH_SCALE};
use crate::half::in_f32;

pub(super) fn gelu<const D: usize>(kind: Gelu, x: Tensor<D>) -> Tensor<D> {
    match kind {
        Gelu::Quick => in_f32(x, |x| x.clone() * sigmoid(x * 1.702)),
        Gelu::Exact => in_f32(x, exact),
        Gelu::Tanh => in_f32(x, |x| {
            let cube = x.clone().powi_scalar(3) * TANH_CUBE;
            x.clone() * sigmoid((x + cube) * TANH_SCALE)
        }),
    }
}
