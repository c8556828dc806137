//! The norm in tensor operations.

use burn::nn::LayerNorm;
use burn::tensor::module::layer_norm as standardized;
use burn::tensor::{DType, Tensor};

use crate::half::is_half;

/// burn's, of numbers of 16 bits in f32 with one rounding.
pub(super) fn layer_norm(norm: &LayerNorm, epsilon: f64, x: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    if !is_half(dtype) {
        return norm.forward(x);
    }
    let wide = |weight: Tensor<1>| weight.cast(DType::F32);
    let beta = norm.beta.as_ref().map(|beta| wide(beta.val()));
    standardized(x.cast(DType::F32), wide(norm.gamma.val()), beta, epsilon).cast(dtype)
}
