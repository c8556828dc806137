//! cubecl's tensors: which ones the forms take, the ways to them and back, and what kernels share.
//!
//! A kernel is written once for every runtime of cubecl (CUDA, Vulkan, Metal, DirectX 12). Sizes and
//! strides are run-time arguments and cubes have [`UNITS`](launch::UNITS) units, so that a kernel is
//! compiled once for each format of numbers. Numbers are f32 within, whatever they are in memory.

pub(crate) mod attention;
mod backend;
pub(crate) mod launch;
pub(crate) mod norm;
pub(crate) mod reduce;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use backend::Cube;
pub(crate) use tensors::{
    CubeTensor, copied, element, flat, fresh, in_order, rows, shaped, takes, untracked, unwrap,
    whole, whole_numbers, wrap,
};
