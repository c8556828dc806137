//! Which tensors the forms take.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::libtorch::LibTorchDevice;
use burn::backend::{DispatchDevice, DispatchTensorKind, TensorMetadata};
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
        matches!(dtype, DType::F32 | DType::BF16 | DType::F64)
    }

    fn takes_there(kind: &DispatchTensorKind) -> bool {
        // CUDA's fused attention has no f64.
        let on_cpu = || kind.device() == DispatchDevice::LibTorch(LibTorchDevice::Cpu);
        kind.dtype() != DType::F64 || on_cpu()
    }
}
