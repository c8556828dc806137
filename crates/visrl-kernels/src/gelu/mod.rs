//! Gaussian error linear units, exact, by a sigmoid and by a hyperbolic tangent.

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::Gelu;
