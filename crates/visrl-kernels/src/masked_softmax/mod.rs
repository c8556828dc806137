//! Softmax over the last axis, with a causal mask.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod mask;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use mask::Mask;
pub use op::masked_softmax;
