//! From burn's tensors to LibTorch's and back.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::libtorch::{Storage, TchTensor};
use burn::tensor::{Device, Int, Tensor};

use super::backend::LibTorch;
use crate::forms::{FusedBackend, Tracking};

/// A tensor of LibTorch, with the number of its holders.
pub(crate) type Torch = TchTensor;

/// Whether a form takes a tensor whose operations are not recorded.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    let tensor = tensor.clone().into_dispatch();
    LibTorch::tracking(&tensor) == Some(Tracking::Untracked)
}

/// LibTorch's tensor behind one that a form [`takes`].
pub(crate) fn unwrap<const D: usize>(tensor: Tensor<D>) -> Torch {
    match tensor.try_into_primitive::<LibTorch>() {
        Ok(tensor) => tensor,
        Err(_) => unreachable!("a tensor of another backend than the one it was asked for"),
    }
}

/// LibTorch's tensor behind indices on the same device as a tensor that a form [`takes`].
pub(crate) fn ints<const D: usize>(tensor: Tensor<D, Int>) -> Torch {
    match tensor.try_into_primitive::<LibTorch>() {
        Ok(tensor) => tensor,
        Err(_) => unreachable!("indices of another backend than the tensor's"),
    }
}

/// The tensor that burn holds for one of LibTorch.
pub(crate) fn wrap<const D: usize>(tensor: Torch) -> Tensor<D> {
    Tensor::from_primitive::<LibTorch>(tensor)
}

/// A tensor in memory that no other has.
pub(crate) fn fresh(tensor: tch::Tensor) -> Torch {
    Torch::new(tensor)
}

/// The tensor in order in memory of its own, for writing.
pub(crate) fn owned(tensor: Torch) -> Torch {
    match tensor.can_mut() && tensor.tensor.is_contiguous() {
        true => tensor,
        false => fresh(tensor.tensor.contiguous().copy()),
    }
}

/// The tensor in order at the beginning of memory of its own, for writing.
pub(crate) fn at_start(tensor: Torch) -> tch::Tensor {
    let whole = matches!(tensor.storage, Storage::Owned { .. });
    match whole && tensor.can_mut() && tensor.tensor.is_contiguous() {
        true => tensor.tensor,
        false => tensor.tensor.contiguous().copy(),
    }
}

/// The device of a tensor.
pub(crate) fn device(tensor: &Torch) -> Device {
    wrap::<1>(tensor.clone()).device()
}

/// Whether a tensor lies on a GPU of NVIDIA.
pub(crate) fn is_cuda(tensor: &Torch) -> bool {
    tensor.tensor.device().is_cuda()
}
