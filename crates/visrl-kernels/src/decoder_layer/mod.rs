//! A whole layer of a decoder, for prompts and the rows behind them in one pass.

mod op;
mod plain;
mod prompts_with_rows;
#[cfg(feature = "tch")]
mod tch;

pub use op::{DecoderLayer, DecoderLayerWeights};
pub use prompts_with_rows::{PromptRows, PromptsWithRows};
