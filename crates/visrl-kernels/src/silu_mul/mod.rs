//! The gated activation of the decoder's MLP.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::silu_mul;
