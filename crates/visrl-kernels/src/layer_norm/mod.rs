//! Layer norm (arXiv 1607.06450).

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::layer_norm;
