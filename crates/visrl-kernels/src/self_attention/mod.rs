//! Attention of patches to those of their own run, a window or a frame, from the projection to the
//! mixed values.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
mod runs;
#[cfg(feature = "tch")]
mod tch;

pub use op::SelfAttention;
pub use runs::Runs;
