//! Memory of an NVIDIA GPU, through `memory.cpp`.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.
#![allow(unsafe_code)]

use std::ffi::c_int;

use burn::backend::DispatchDevice;
use burn::backend::libtorch::LibTorchDevice;
use burn::tensor::Device;

unsafe extern "C" {
    fn visrl_memory(
        device: c_int,
        peak: *mut u64,
        spare: *mut u64,
        free: *mut u64,
        all: *mut u64,
    ) -> bool;
}

/// The most bytes that tensors have held on a GPU, and those that they can still have, where LibTorch
/// tells; nothing for other devices, and before anything was computed there.
pub(crate) fn memory(device: &Device) -> Option<(u64, Option<u64>)> {
    let device = device.clone().inner();
    let DispatchDevice::LibTorch(LibTorchDevice::Cuda(number)) = device.as_dispatch() else {
        return None;
    };
    let (mut peak, mut spare, mut free, mut all) = (0, 0, 0, 0);
    // SAFETY: the four numbers are written.
    let known = unsafe {
        visrl_memory(
            c_int::try_from(*number).ok()?,
            &mut peak,
            &mut spare,
            &mut free,
            &mut all,
        )
    };
    known.then_some((peak, (all > 0).then_some(free + spare)))
}
