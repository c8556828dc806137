//! A whole layer of a transformer as one operation: of a decoder, for prompts and the rows behind
//! them in one pass, or of a vision tower.

mod attention;
mod op;
mod plain;
mod prompts_with_rows;
#[cfg(feature = "tch")]
mod tch;
mod weights;

pub use attention::{LayerAttention, PromptsAttention};
pub use op::TransformerLayer;
pub use prompts_with_rows::{PromptRows, PromptsWithRows};
pub use weights::{FeedForward, LayerWeights, LinearWeights, NormWeights, Projections};
