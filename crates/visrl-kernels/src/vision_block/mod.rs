//! A whole block of a vision tower.

mod op;
mod plain;
#[cfg(feature = "tch")]
mod tch;

pub use op::{VisionBlock, VisionBlockWeights};
