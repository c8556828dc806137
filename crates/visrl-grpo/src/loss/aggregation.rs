//! How tokens are weighed against each other.

use serde::{Deserialize, Serialize};

use crate::normalization::{Normalization, guarded};

/// How the terms of tokens become one number.
///
/// `B` is the number of rows and `n_i` the number of counted tokens in row `i`:
///
/// | | weight of a token in row `i` | so that |
/// |---|---|---|
/// | `SequenceMean` | `1 / (B n_i)` | every completion weighs the same |
/// | `TokenMean` | `1 / sum_j n_j` | every token weighs the same |
/// | `ConstantLength` | `1 / (B L)` | every token weighs the same, whatever the batch |
/// | `SequenceSum` | `1 / B` | long completions weigh more |
///
/// A count of zero divides as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aggregation {
    /// Mean over the tokens of each row, then mean over rows.
    SequenceMean,
    /// Mean over all tokens.
    TokenMean,
    /// Sum over tokens, divided by rows times a constant length.
    ConstantLength(usize),
    /// Sum over the tokens of each row, then mean over rows.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights() {
        let counts = Normalization::new(4, 20);
        assert_eq!(Aggregation::SequenceMean.weight(5, &counts), 0.05);
        assert_eq!(Aggregation::TokenMean.weight(5, &counts), 0.05);
        assert_eq!(Aggregation::ConstantLength(10).weight(5, &counts), 0.025);
        assert_eq!(Aggregation::SequenceSum.weight(5, &counts), 0.25);
        assert_eq!(
            Aggregation::SequenceMean.weight(0, &Normalization::new(0, 0)),
            1.0
        );
    }
}
