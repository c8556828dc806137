//! Token or sequence: at which level importance ratios are taken.

use serde::{Deserialize, Serialize};

/// Whether the ratio `p / p_old` is taken per token or per sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceLevel {
    /// `exp(logp_t - old_t)` for each token: GRPO (arXiv 2402.03300). The default.
    #[default]
    Token,
    /// `exp(mean_t(logp_t - old_t))`, one ratio for the whole completion: GSPO
    /// (arXiv 2507.18071, equation 7). Usual clip bounds are much narrower here (3e-4 to 4e-2).
    Sequence,
}
