//! Which tensors the forms on slices take.

use burn::backend::{DispatchTensorKind, Flex};
use burn::tensor::DType;

use crate::forms::FusedBackend;

impl FusedBackend for Flex {
    fn is_kind(kind: &DispatchTensorKind) -> bool {
        // With one backend compiled in, the only other kind is that of recorded operations.
        matches!(kind, DispatchTensorKind::Flex(_))
    }

    fn takes(dtype: DType) -> bool {
        dtype == DType::F32
    }
}
