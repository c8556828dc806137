//! The contract of a decoder that takes one token of each of many rows at once.

use std::fmt::Debug;

use burn::tensor::{Int, Tensor};

use super::batched_cache::BatchedCache;

/// One new token of each row, on the device.
#[derive(Clone, Debug)]
pub struct StepInput {
    /// Token ids, `[rows]`.
    pub ids: Tensor<1, Int>,
    /// Rotary positions, `[rows]`: those of text, which are the same on every axis.
    pub positions: Tensor<1, Int>,
    /// The tokens that each row has in the cache before this one, `[rows]`.
    pub lengths: Tensor<1, Int>,
}

/// A decoder over a snapshot of a model's weights, made for steps of one token of each row.
///
/// A step reads and writes tensors of the device alone. Their shapes are those of the cache, whatever
/// the rows hold, so that a step can be recorded once and run again.
pub trait StepDecoder: Debug + Send + Sync {
    /// A cache without rows, of the format that steps need.
    fn cache(&self) -> BatchedCache;

    /// Runs one token of each row of the cache through the decoder and adds its keys and values.
    /// Returns the states after the final norm, `[rows, hidden]`.
    fn step(&self, input: StepInput, cache: &mut BatchedCache) -> Tensor<2>;
}
