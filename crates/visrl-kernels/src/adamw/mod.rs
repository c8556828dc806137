//! One step of AdamW (arXiv 1711.05101).

#[cfg(feature = "cubecl")]
mod cube;
#[cfg(feature = "flex")]
mod flex;
mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::{AdamWStep, AdamWTensors, adamw, adamw_all, adamw_has_all};
