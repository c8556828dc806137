//! GRPO without its length bias.

use serde::{Deserialize, Serialize};

use crate::loss::clipped::Clipped;

/// Dr. GRPO (arXiv 2503.20783): the clipped surrogate, summed over tokens and divided by a
/// constant, `B * max_completion_length`, so that a token's weight depends neither on its
/// completion's length nor on the batch. Meant to be used with unscaled advantages
/// ([`MeanOnly`](crate::MeanOnly)).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrGrpo {
    /// The clip bounds.
    pub clip: Clipped,
    /// The constant length, in tokens: the limit that completions were sampled with.
    /// Default 1024, the paper's limit.
    pub max_completion_length: usize,
}

impl Default for DrGrpo {
    fn default() -> Self {
        Self {
            clip: Clipped::default(),
            max_completion_length: 1024,
        }
    }
}
