//! Root mean square norm (arXiv 1910.07467).

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::rms_norm;
