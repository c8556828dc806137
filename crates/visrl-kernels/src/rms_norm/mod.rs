//! Root mean square norm (arXiv 1910.07467).

#[cfg(feature = "flex")]
mod flex;
mod op;

pub use op::rms_norm;
