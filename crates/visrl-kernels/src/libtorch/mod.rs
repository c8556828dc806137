//! LibTorch's tensors: which ones the forms take, and the ways to them and back.

pub(crate) mod attention;
mod backend;
mod lists;
mod memory;
mod record;
pub(crate) mod shim;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use backend::LibTorch;
pub(crate) use lists::{copies, owned_all};
pub(crate) use memory::memory;
pub use record::{OperatorCalls, OperatorRecord, OperatorRecording};
pub(crate) use tensors::{
    Torch, at_start, device, fresh, ints, is_cuda, owned, takes, unwrap, wrap,
};
