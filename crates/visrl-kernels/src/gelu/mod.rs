//! Gaussian error linear units, exact and by a sigmoid.

#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::Gelu;
