//! The clipped ratio of PPO and GRPO.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term};
use crate::real::Real;

/// The clipped surrogate of GRPO (arXiv 2402.03300, equation 3), with ratio `r`:
///
/// `-min(r A, clamp(r, 1 - epsilon, 1 + epsilon_high) A)`
///
/// * `epsilon_high` above `epsilon` is DAPO's clip-higher (arXiv 2503.14476 recommends 0.28).
/// * `delta` also bounds the first branch, `min(r, delta) A` (two-sided clipping, INTELLECT-2,
///   arXiv 2505.07291): without it a large ratio with a negative advantage has no bound.
///
/// On a bound the derivative is that of the ratio.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clipped {
    /// How far the ratio may fall below 1. Default 0.2.
    pub epsilon: f64,
    /// How far the ratio may rise above 1; `None`: as `epsilon`. Default none.
    pub epsilon_high: Option<f64>,
    /// An upper bound of the unclipped branch; sensible values exceed `1 + epsilon_high`.
    /// Default none.
    pub delta: Option<f64>,
}

impl Default for Clipped {
    fn default() -> Self {
        Self { epsilon: 0.2, epsilon_high: None, delta: None }
    }
}

impl<F: Real> Surrogate<F> for Clipped {
    /// The advantage, the bounds, and the bound of the unclipped branch (infinite without one).
    type Row = [F; 4];

    fn row(&self, row: &RowView<'_, F>) -> [F; 4] {
        let high = self.epsilon_high.unwrap_or(self.epsilon);
        let delta = self.delta.unwrap_or(f64::INFINITY);
        let [low, high, delta] = [1.0 - self.epsilon, 1.0 + high, delta].map(F::from_f64);
        [row.advantage, low, high, delta]
    }

    fn token(&self, &[advantage, low, high, delta]: &[F; 4], _logp: F, ratio: F) -> Term<F> {
        let bounded = ratio.at_most(delta);
        let clipped = ratio.at_least(low).at_most(high);
        // min(bounded A, clipped A), without products that may be infinity times zero.
        let taken = match advantage >= F::ZERO {
            true => bounded.at_most(clipped),
            false => bounded.at_least(clipped),
        };
        let loss = -(taken * advantage);
        let mut term = Term::of_ratio(loss, if taken == ratio { loss } else { F::ZERO });
        if bounded < low && advantage < F::ZERO {
            term.clip = Clip::Low;
        } else if bounded > high && advantage > F::ZERO {
            term.clip = Clip::High;
        }
        term
    }

    fn validate(&self) -> Result<()> {
        let valid = |bound: f64| bound.is_finite() && bound >= 0.0;
        let (low, high) = (self.epsilon, self.epsilon_high.unwrap_or(0.0));
        Error::check(valid(low), "epsilon", low, "zero or more")?;
        Error::check(valid(high), "epsilon_high", high, "zero or more")?;
        let delta = self.delta.unwrap_or(1.0);
        let allowed = "above zero, or left out";
        Error::check(delta > 0.0 && delta.is_finite(), "delta", delta, allowed)
    }
}
