//! burn's flex backend: tensors in host memory, read and written as slices.

mod backend;
mod half;
mod host;

pub(crate) use half::{in_f32, narrowed, untracked_in_f32};
pub(crate) use host::{Host, from_vec, holds, in_order, owned, read, tensor, untracked, width};
