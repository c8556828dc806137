//! How tokens are weighed against each other.

use serde::{Deserialize, Serialize};

use crate::normalization::{Normalization, guarded};

/// How the terms of tokens become one number, with `B` rows of `n_i` tokens.
/// A count of zero divides as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Mean over the tokens of each row, then over rows: `1 / (B n_i)` for each token.
    SequenceMean,
    /// Mean over all tokens: `1 / sum_j n_j`.
    TokenMean,
    /// Sum over tokens, divided by rows times a constant length: `1 / (B L)`.
    ConstantLength(usize),
    /// Sum over the tokens of each row, then mean over rows: `1 / B`.
    SequenceSum,
}

impl Aggregation {
    /// The weight of each token in a row of `tokens` counted tokens.
    #[inline]
    pub fn weight(&self, tokens: usize, counts: &Normalization) -> f64 {
        let sequences = guarded(counts.sequences);
        match self {
            Self::SequenceMean => 1.0 / (tokens.max(1) as f64 * sequences),
            Self::TokenMean => 1.0 / guarded(counts.tokens),
            Self::ConstantLength(len) => 1.0 / (sequences * (*len).max(1) as f64),
            Self::SequenceSum => 1.0 / sequences,
        }
    }
}
