//! The paper's loss: one update per batch, so the old policy is the current one.

use serde::{Deserialize, Serialize};

use crate::loss::surrogate::{RowView, Surrogate, Term};
use crate::real::Real;

/// The loss of CLS-RL and No-Thinking-RL (arXiv 2503.16188): `-exp(logp - detach(logp)) A`.
///
/// The ratio is always 1, its derivative is that of `logp`, and nothing can be clipped. Old
/// log-probabilities in the batch are ignored: this is GRPO (arXiv 2402.03300, equation 3) with
/// one update per sampled batch. Taken as a mean per sequence, then over sequences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OnPolicy {}

impl<F: Real> Surrogate<F> for OnPolicy {
    type Row = F;

    const ON_POLICY: bool = true;

    fn row(&self, row: &RowView<'_, F>) -> F {
        row.advantage
    }

    fn token(&self, advantage: &F, _logp: F, ratio: F) -> Term<F> {
        let loss = -(ratio * *advantage);
        Term::of_ratio(loss, loss)
    }
}
