//! The paper's loss: one update per batch, so the old policy is the current one.

use serde::{Deserialize, Serialize};

use crate::loss::surrogate::{Clip, RowView, Surrogate, Term, TokenView};
use crate::real::Real;

/// The loss of CLS-RL and No-Thinking-RL (arXiv 2503.16188):
///
/// `-exp(logp_t - detach(logp_t)) * A`
///
/// The ratio is always 1, its derivative is that of `logp_t`, and nothing can be clipped. Old
/// log-probabilities in the batch are ignored: this is GRPO (arXiv 2402.03300, equation 3) with
/// one update per sampled batch. Taken as a mean per sequence, then over sequences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnPolicy {}

impl<F: Real> Surrogate<F> for OnPolicy {
    type Row = F;

    const ON_POLICY: bool = true;

    #[inline]
    fn row(&self, row: &RowView<'_, F>) -> F {
        row.advantage
    }

    #[inline]
    fn token(&self, advantage: &F, token: &TokenView<F>) -> Term<F> {
        let loss = -(token.ratio * *advantage);
        Term {
            loss,
            d_logp: F::ZERO,
            d_log_ratio: loss,
            clip: Clip::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gradient_is_minus_the_advantage() {
        let token = TokenView {
            logp: -3.0,
            log_ratio: 0.0,
            ratio: 1.0f64,
        };
        let term = OnPolicy {}.token(&0.7, &token);
        assert_eq!(
            (term.loss, term.d_log_ratio, term.d_logp),
            (-0.7, -0.7, 0.0)
        );
    }
}
