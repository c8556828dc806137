//! Which tensors the forms take.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::DispatchTensorKind;
use burn::tensor::DType;

use crate::forms::FusedBackend;

/// burn's LibTorch backend.
pub(crate) type LibTorch = burn::backend::LibTorch;

impl FusedBackend for LibTorch {
    fn is_kind(kind: &DispatchTensorKind) -> bool {
        // With one backend compiled in, the only other kind is that of recorded operations.
        matches!(kind, DispatchTensorKind::LibTorch(_))
    }

    fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::BF16)
    }
}
