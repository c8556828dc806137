//! Many vectors in another number format.

mod op;
#[cfg(feature = "tch")]
mod tch;

pub use op::cast_all;
