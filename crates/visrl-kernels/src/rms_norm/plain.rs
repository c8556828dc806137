//! The norm in tensor operations.

use burn::nn::RmsNorm;
use burn::tensor::{DType, Tensor};

/// Numbers of 16 bits are normalized in f32 and rounded before the weights multiply them, as
/// transformers does.
pub(super) fn rms_norm(norm: &RmsNorm, x: Tensor<2>) -> Tensor<2> {
    let dtype = x.dtype();
    let wide = match dtype {
        DType::F64 => x,
        _ => x.cast(DType::F32),
    };
    let squares = wide.clone().square().mean_dim(1);
    let normalized = wide / (squares + norm.epsilon).sqrt();
    normalized.cast(dtype) * norm.gamma.val().unsqueeze()
}
