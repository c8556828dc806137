//! Backends with forms of their own.

use burn::backend::tensor::FloatTensor;
use burn::backend::{
    Backend, BackendTensor, DispatchAutodiffContext, DispatchKindConversion, DispatchTensor,
    DispatchTensorKind, GradientCheckpointingStrategy, TensorMetadata,
};
use burn::tensor::{DType, Tensor};

/// Whether operations on a tensor are recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracking {
    /// They are not: a tensor of the backend itself.
    Untracked,
    /// They are, and what is recorded is kept, not computed again.
    Tracked,
}

/// A backend that operations may have forms for.
pub trait FusedBackend: Backend {
    /// Whether a tensor's kind, without its wrapping for recorded operations, is this backend's.
    fn is_kind(kind: &DispatchTensorKind) -> bool;

    /// Whether the forms take numbers of this format.
    fn takes(dtype: DType) -> bool;

    /// Whether they take them where a tensor of this backend lies.
    fn takes_there(_: &DispatchTensorKind) -> bool {
        true
    }

    /// How a tensor of this backend that its forms take is tracked; nothing for others.
    fn tracking(tensor: &DispatchTensor) -> Option<Tracking> {
        Self::tracking_of(tensor, Self::takes)
    }

    /// As [`tracking`](Self::tracking), for the formats that `takes` names.
    fn tracking_of(tensor: &DispatchTensor, takes: fn(DType) -> bool) -> Option<Tracking> {
        let kept = DispatchAutodiffContext::Enabled(GradientCheckpointingStrategy::Disabled);
        let (kind, tracking) = match &tensor.kind {
            DispatchTensorKind::Autodiff(inner) if tensor.autodiff == kept => {
                (&**inner, Tracking::Tracked)
            }
            kind if tensor.autodiff == DispatchAutodiffContext::Disabled => {
                (kind, Tracking::Untracked)
            }
            _ => return None,
        };
        let taken = Self::is_kind(kind) && takes(kind.dtype()) && Self::takes_there(kind);
        taken.then_some(tracking)
    }
}

/// Whether a backend's forms take a tensor, tracked or not.
pub fn takes<B: FusedBackend, const D: usize>(tensor: &Tensor<D>) -> bool {
    B::tracking(&tensor.clone().into_dispatch()).is_some()
}

/// Moves a tensor of backend `B` out of the one that holds any backend's.
///
/// # Panics
/// When it is another's: [`FusedBackend::tracking`] is asked before.
pub(super) fn unwrapped<B: Backend>(tensor: DispatchTensor) -> FloatTensor<B>
where
    DispatchTensor: DispatchKindConversion<B>,
{
    match DispatchTensor::try_into_backend(tensor) {
        Ok(BackendTensor::Float(tensor)) => tensor,
        _ => unreachable!("a tensor of another backend than the one it was asked for"),
    }
}
