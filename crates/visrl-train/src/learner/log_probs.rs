use visrl_core::TokenRows;

/// Log-probabilities and entropies of completions in nats: one row per completion, group by group,
/// one value per token.
#[derive(Clone, Debug, PartialEq)]
pub struct LogProbs {
    /// Log-probability of each token under the full softmax.
    pub logps: TokenRows<f32>,
    /// Entropy of the distribution each token was drawn from.
    pub entropies: TokenRows<f32>,
}
