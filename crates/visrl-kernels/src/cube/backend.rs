//! Which tensors the forms take.

use burn::backend::{DispatchTensorKind, TensorMetadata};
use burn::tensor::DType;

use crate::forms::FusedBackend;

/// burn's backend for all runtimes of cubecl.
pub(crate) type Cube = burn::backend::Cube;

impl FusedBackend for Cube {
    fn is_kind(kind: &DispatchTensorKind) -> bool {
        // With one backend compiled in, the only other kind is that of recorded operations.
        matches!(kind, DispatchTensorKind::Cube(_))
    }

    fn takes(dtype: DType) -> bool {
        matches!(dtype, DType::F32 | DType::BF16)
    }

    fn takes_there(kind: &DispatchTensorKind) -> bool {
        // Kernels count numbers in 32 bits.
        u32::try_from(kind.shape().num_elements()).is_ok()
    }
}
