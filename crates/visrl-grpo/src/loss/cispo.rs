//! Clipping the weight instead of the update.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term, TokenView};
use crate::real::Real;

/// CISPO (MiniMax-M1, arXiv 2506.13585, equation 4), with ratio `r`:
///
/// `-detach(min(r, epsilon_high)) * A * logp_t`
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

    #[inline]
    fn row(&self, row: &RowView<'_, F>) -> (F, F) {
        (row.advantage, F::from_f64(self.epsilon_high))
    }

    #[inline]
    fn token(&self, row: &(F, F), token: &TokenView<F>) -> Term<F> {
        let (advantage, bound) = *row;
        let d_logp = -(token.ratio.at_most(bound) * advantage);
        let clipped = token.ratio > bound && advantage > F::ZERO;
        Term {
            loss: d_logp * token.logp,
            d_logp,
            d_log_ratio: F::ZERO,
            clip: if clipped { Clip::High } else { Clip::None },
        }
    }

    fn validate(&self) -> Result<()> {
        let bound = self.epsilon_high;
        Error::check_config(bound > 0.0, "epsilon_high", bound, "above zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_truncated_weight_keeps_its_gradient() {
        let token = TokenView {
            logp: -0.5,
            log_ratio: 8.0f64.ln(),
            ratio: 8.0,
        };
        let term = Cispo::default().token(&(2.0, 5.0), &token);
        assert_eq!(
            (term.loss, term.d_logp, term.d_log_ratio),
            (5.0, -10.0, 0.0)
        );
        assert_eq!(term.clip, Clip::High);
        assert!(Surrogate::<f64>::validate(&Cispo { epsilon_high: 0.0 }).is_err());
    }
}
