//! Tensors in host memory.

use burn::backend::tensor::FloatTensor;
use burn::backend::{DispatchTensorKind, Flex};
use burn::tensor::{DType, Shape, Tensor, TensorData};

use crate::forms::{FusedBackend, Tracking};
use crate::parallel;

/// A tensor in host memory.
pub(crate) type Host = FloatTensor<Flex>;

/// The tensor in host memory behind an untracked f32 tensor.
pub(crate) fn untracked<const D: usize>(tensor: &Tensor<D>) -> Option<Host> {
    untracked_of(tensor, Flex::takes)
}

/// The tensor in host memory behind an untracked one of a format that `takes` names.
pub(super) fn untracked_of<const D: usize>(
    tensor: &Tensor<D>,
    takes: fn(DType) -> bool,
) -> Option<Host> {
    let tensor = tensor.clone().into_dispatch();
    match Flex::tracking_of(&tensor, takes) {
        Some(Tracking::Untracked) => Tensor::<D>::from_dispatch(tensor)
            .try_into_primitive::<Flex>()
            .ok(),
        _ => None,
    }
}

/// Whether a tensor lies in host memory, tracked or not, whatever its format.
pub(crate) fn holds<const D: usize>(tensor: &Tensor<D>) -> bool {
    match tensor.clone().into_dispatch().kind {
        DispatchTensorKind::Autodiff(inner) => Flex::is_kind(&inner),
        kind => Flex::is_kind(&kind),
    }
}

/// An untracked tensor of one in host memory.
pub(crate) fn tensor<const D: usize>(tensor: Host) -> Tensor<D> {
    Tensor::from_primitive::<Flex>(tensor)
}

/// A tensor of these numbers.
pub(crate) fn from_vec(values: Vec<f32>, shape: impl Into<Shape>) -> Host {
    Host::from_data(TensorData::new(values, shape.into()))
}

/// The numbers of a tensor in order, for reading: copied only where they are not so already.
pub(crate) fn in_order(tensor: Host) -> Host {
    match tensor.as_slice::<f32>() {
        Some(_) => tensor,
        None => tensor.to_contiguous(),
    }
}

/// The numbers of a tensor in order in memory of its own, for writing.
pub(crate) fn owned(tensor: Host) -> Host {
    let whole = tensor
        .as_slice::<f32>()
        .is_some_and(|slice| size_of_val(slice) == tensor.bytes().len());
    match whole && tensor.is_unique() {
        true => tensor,
        false => {
            let shape = tensor.layout().shape().clone();
            let tensor = in_order(tensor);
            from_vec(parallel::copy(read(&tensor)), shape)
        }
    }
}

/// The numbers of a tensor that [`in_order`] gave.
pub(crate) fn read(tensor: &Host) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

/// The length of the last axis.
pub(crate) fn width(tensor: &Host) -> usize {
    tensor
        .layout()
        .shape()
        .as_slice()
        .last()
        .copied()
        .unwrap_or(1)
}
