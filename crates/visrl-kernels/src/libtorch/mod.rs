//! LibTorch's tensors: which ones the forms take, and the ways to them and back.

mod backend;
mod tensors;
#[cfg(test)]
pub(crate) mod testing;

pub(crate) use backend::LibTorch;
pub(crate) use tensors::{Torch, device, fresh, ints, is_cuda, owned, takes, unwrap, wrap};
