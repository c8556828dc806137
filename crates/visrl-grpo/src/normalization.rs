//! The counts that a loss divides by.

use serde::{Deserialize, Serialize};

/// The counts over which a loss is averaged.
///
/// A loss is a sum over tokens, divided by counts of the *whole* batch. When a batch is evaluated
/// in pieces (because of memory, or on several devices), every piece needs the counts of the
/// whole; then the pieces' losses and gradients simply add up to those of the whole batch.
///
/// A share of a larger batch may be fractional. To weigh micro-batches alike, however many tokens
/// each has, multiply the counts of each by their number. A count of zero divides as one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Normalization {
    /// Rows (completions), including those without a token that counts.
    pub sequences: f64,
    /// Tokens that count.
    pub tokens: f64,
    /// Tokens that the entropy quantile selects; equal to `tokens` without a quantile.
    /// The entropy bonus is a mean over these.
    pub entropy_tokens: f64,
    /// The entropy at or above which a token takes part in the policy term; `None`: all do.
    pub entropy_threshold: Option<f64>,
}

impl Normalization {
    /// Counts without an entropy quantile.
    pub fn new(sequences: usize, tokens: usize) -> Self {
        Self {
            sequences: sequences as f64,
            tokens: tokens as f64,
            entropy_tokens: tokens as f64,
            entropy_threshold: None,
        }
    }
}

/// A count to divide by: zero becomes one.
pub(crate) fn guarded(count: f64) -> f64 {
    if count > 0.0 { count } else { 1.0 }
}
