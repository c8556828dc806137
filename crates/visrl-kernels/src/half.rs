//! Numbers of 16 bits in tensor operations.

use burn::tensor::{DType, Tensor};

/// Whether numbers are of 16 bits.
pub(crate) fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::BF16 | DType::F16)
}

/// `f` of `x`; for numbers of 16 bits all within `f` is f32 and the result is rounded once, as in
/// PyTorch's kernels.
pub(crate) fn in_f32<const D: usize>(
    x: Tensor<D>,
    f: impl FnOnce(Tensor<D>) -> Tensor<D>,
) -> Tensor<D> {
    let dtype = x.dtype();
    match is_half(dtype) {
        true => f(x.cast(DType::F32)).cast(dtype),
        false => f(x),
    }
}
