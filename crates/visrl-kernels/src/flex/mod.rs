//! burn's flex backend: tensors in host memory, read and written as slices.

mod backend;
mod host;

pub(crate) use host::{Host, from_vec, holds, in_order, owned, read, tensor, untracked, width};
