//! The gated activation of the decoder's MLP.

#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;

pub use op::silu_mul;
