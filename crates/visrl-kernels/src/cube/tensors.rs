//! From burn's tensors to cubecl's and back.

use burn::backend::cubecl::dtype_to_elem_type;
use burn::backend::{DispatchTensor, TensorMetadata};
use burn::tensor::{DType, Int, Tensor};
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
pub(crate) use burn_cubecl::tensor::CubeTensor;
use cubecl::CubeElement;
use cubecl::ir::ElemType;
use cubecl::zspace::metadata::Metadata;

use super::backend::Cube;
use crate::forms::{FusedBackend, Tracking};

/// Whether a form takes a tensor whose operations are not recorded.
pub(crate) fn takes<const D: usize>(tensor: &Tensor<D>) -> bool {
    let tensor = tensor.clone().into_dispatch();
    Cube::tracking(&tensor) == Some(Tracking::Untracked)
}

/// cubecl's tensor behind one that forms take, whether its operations are recorded or not.
pub(crate) fn untracked(tensor: &DispatchTensor) -> Option<CubeTensor> {
    let tracking = Cube::tracking(tensor)?;
    let tensor = Tensor::<1>::from_dispatch(tensor.clone());
    Some(unwrap(match tracking {
        Tracking::Untracked => tensor,
        Tracking::Tracked => tensor.without_autodiff(),
    }))
}

/// cubecl's tensor behind one that a form [`takes`].
pub(crate) fn unwrap<const D: usize>(tensor: Tensor<D>) -> CubeTensor {
    match tensor.try_into_primitive::<Cube>() {
        Ok(tensor) => tensor,
        Err(_) => unreachable!("a tensor of another backend than the one it was asked for"),
    }
}

/// cubecl's tensor behind whole numbers on the same device as a tensor that a form [`takes`].
pub(crate) fn whole_numbers<const D: usize>(tensor: Tensor<D, Int>) -> CubeTensor {
    match tensor.try_into_primitive::<Cube>() {
        Ok(tensor) => in_order(tensor),
        Err(_) => unreachable!("whole numbers of another backend than the tensor's"),
    }
}

/// The tensor that burn holds for one of cubecl.
pub(crate) fn wrap<const D: usize>(tensor: CubeTensor) -> Tensor<D> {
    Tensor::from_primitive::<Cube>(tensor)
}

/// What kernels call a format.
pub(crate) fn element(tensor: &CubeTensor) -> ElemType {
    dtype_to_elem_type(tensor.dtype)
}

/// Memory of its own for numbers of a format, in order, where another tensor lies.
pub(crate) fn fresh(like: &CubeTensor, shape: &[usize], dtype: DType) -> CubeTensor {
    let (client, device) = (like.client.clone(), like.device.clone());
    empty_device_contiguous_dtype(client, device, shape.to_vec().into(), dtype)
}

/// Whole numbers where another tensor lies, at least one.
pub(crate) fn whole(like: &CubeTensor, numbers: &[u32]) -> CubeTensor {
    let numbers = if numbers.is_empty() { &[0] } else { numbers };
    let handle = like.client.create_from_slice(u32::as_bytes(numbers));
    let (client, device) = (like.client.clone(), like.device.clone());
    let shape = vec![numbers.len()].into();
    CubeTensor::new_contiguous(client, device, shape, handle, DType::U32)
}

/// The numbers one after another.
pub(crate) fn in_order(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

/// The numbers one after another in memory that nobody else holds, for writing.
pub(crate) fn copied(tensor: CubeTensor) -> CubeTensor {
    match tensor.can_mut() && tensor.is_contiguous() {
        true => tensor,
        false if tensor.is_contiguous() => tensor.copy(),
        false => into_contiguous(tensor),
    }
}

/// Numbers in order in another shape.
pub(crate) fn shaped(tensor: CubeTensor, shape: &[usize]) -> CubeTensor {
    let CubeTensor {
        client,
        handle,
        device,
        dtype,
        ..
    } = tensor;
    CubeTensor::new_contiguous(client, device, shape.to_vec().into(), handle, dtype)
}

/// A tensor `[.., columns]` as rows `[rows, columns]`, each in order, at a distance that is the first
/// stride: of the memory that it lies in where that can be, else of a copy.
pub(crate) fn rows(tensor: CubeTensor) -> CubeTensor {
    let shape = tensor.shape();
    let columns = shape.last().copied().unwrap_or(1);
    let rows = shape.num_elements() / columns.max(1);
    match row_stride(&tensor) {
        Some(stride) => {
            let mut tensor = tensor;
            *tensor.meta = Metadata::new([rows, columns], [stride, 1]);
            tensor
        }
        None => shaped(in_order(tensor), &[rows, columns]),
    }
}

/// A tensor as one row `[1, numbers]` in order.
pub(crate) fn flat(tensor: CubeTensor) -> CubeTensor {
    let numbers = tensor.shape().num_elements();
    shaped(in_order(tensor), &[1, numbers])
}

/// The distance of the rows of a tensor, where it is the same for all and each lies in order.
fn row_stride(tensor: &CubeTensor) -> Option<usize> {
    if tensor.meta.is_tiled() {
        return None;
    }
    let (shape, strides) = (tensor.meta.shape(), tensor.meta.strides());
    let (&columns, outer) = shape.split_last()?;
    let (&last, outer_strides) = strides.split_last()?;
    if last != 1 && columns != 1 {
        return None;
    }
    // From the innermost axis outwards, what a step along the next one must be.
    let mut distance = None;
    let mut expected = 0;
    for (&len, &stride) in outer.iter().zip(outer_strides).rev() {
        if len == 1 {
            continue;
        }
        match distance {
            None => distance = Some(stride),
            Some(_) if stride != expected => return None,
            Some(_) => {}
        }
        expected = stride * len;
    }
    Some(distance.unwrap_or(columns))
}
