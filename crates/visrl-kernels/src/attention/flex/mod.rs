//! Attention without copies: blocks of queries against keys and values where they lie.
//!
//! A block's scores are made, turned into probabilities and multiplied with the values while they
//! are in the processor's cache; keys after a block are left out. Blocks run in parallel.

mod blocks;
mod gradients;
mod query_block;
mod rows;
mod segments;
mod shared_prefix;

pub(crate) use blocks::{block_size, probabilities, run_blocks};
pub(crate) use gradients::backward;
pub(crate) use query_block::{QueryBlock, RowSpan};
pub(crate) use rows::{KeyValues, StridedRows};
pub(super) use segments::attend;
