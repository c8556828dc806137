//! The engine for devices: one decode step for all rows at once, with everything that it needs where
//! the model is.
//!
//! Scheduler, prompts and stop rules are those of the native engine; the cache and the step differ.
//! Each row has a cache of its own, whose prefix is a copy of its group's; attention takes rows of
//! any length in one call a layer; tokens are drawn where the logits are. Up go three numbers a row
//! and the one it is drawn by, down come its token and two log-probabilities.

mod batch;
mod engine;
mod policy;
mod sampler;

pub use engine::DeviceEngine;
pub use sampler::{DeviceSampler, DrawInput, RowSettings};
