//! Gaussian error linear units, exact and by a sigmoid.

#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;

pub use op::Gelu;
