//! Clipping the weight instead of the update.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term};
use crate::real::Real;

/// CISPO (MiniMax-M1, arXiv 2506.13585, equation 4), with ratio `r`:
/// `-detach(min(r, epsilon_high)) A logp`.
///
/// The truncated ratio is only a weight, so no token ever loses its gradient. `epsilon_high` is
/// the bound itself, not a distance from 1. Taken as a mean over all tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cispo {
    /// The largest weight. Default 5, as ScaleRL (arXiv 2510.13786) recommends.
    pub epsilon_high: f64,
}

impl Default for Cispo {
    fn default() -> Self {
        Self { epsilon_high: 5.0 }
    }
}

impl<F: Real> Surrogate<F> for Cispo {
    /// The advantage, and the bound.
    type Row = (F, F);

    fn row(&self, row: &RowView<'_, F>) -> (F, F) {
        (row.advantage, F::from_f64(self.epsilon_high))
    }

    fn token(&self, (advantage, bound): &(F, F), logp: F, ratio: F) -> Term<F> {
        let d_logp = -(ratio.at_most(*bound) * *advantage);
        let mut term = Term::of_logp(d_logp * logp, d_logp);
        if ratio > *bound && *advantage > F::ZERO {
            term.clip = Clip::High;
        }
        term
    }

    fn validate(&self) -> Result<()> {
        let bound = self.epsilon_high;
        Error::check(bound > 0.0 && bound.is_finite(), "epsilon_high", bound, "above zero")
    }
}
