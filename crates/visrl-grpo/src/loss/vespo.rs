//! A smooth weight for whole sequences.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{RowView, Surrogate, Term};
use crate::real::Real;
use crate::sampler_correction::RowCorrection;

/// VESPO, variational sequence-level soft policy optimization (arXiv 2602.10693), with the
/// sequence ratio `w = prod_t p_t / p_old_t` (times the importance correction, where there is
/// one):
///
/// `-detach(phi(w)) * A * logp_t`, `phi(w) = exp(lambda) w^k exp(-lambda w)`
///
/// A ratio far from 1 fades out. `k` and `lambda` depend on the sign of the advantage. Token log
/// ratios are bounded to `[-20, 20]`, `log w` to `[log 1e-8, 20]`. Taken as a mean over all tokens.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vespo {
    /// Power of the ratio for advantages of zero or more. Default 2.
    pub k_pos: f64,
    /// Decay for advantages of zero or more. Default 3.
    pub lambda_pos: f64,
    /// Power of the ratio for negative advantages. Default 3.
    pub k_neg: f64,
    /// Decay for negative advantages. Default 2.
    pub lambda_neg: f64,
}

impl Default for Vespo {
    fn default() -> Self {
        Self { k_pos: 2.0, lambda_pos: 3.0, k_neg: 3.0, lambda_neg: 2.0 }
    }
}

impl Vespo {
    /// `phi(w)` for `log w`, in double precision.
    fn phi(&self, positive: bool, log_w: f64) -> f64 {
        let (k, lambda) = match positive {
            true => (self.k_pos, self.lambda_pos.max(1e-4)),
            false => (self.k_neg, self.lambda_neg.max(1e-4)),
        };
        let log_w = bounded(log_w);
        let phi = (lambda + k * log_w - lambda * log_w.exp()).exp();
        if phi.is_finite() { phi } else { 0.0 }
    }
}

/// A logarithm within its bounds.
fn bounded(log: f64) -> f64 {
    log.clamp(1e-8f64.ln(), 20.0)
}

impl<F: Real> Surrogate<F> for Vespo {
    /// The weight, and `-phi A`.
    type Row = (F, F);

    const OWNS_CORRECTION: bool = true;

    fn row(&self, row: &RowView<'_, F>) -> (F, F) {
        let bound = F::from_f64(20.0);
        let mut log_w = row.sum_log_ratio(|d| d.at_least(-bound).at_most(bound));
        if !matches!(row.correction, RowCorrection::None) {
            let ratios = (0..row.logps.len()).map(|token| row.correction.ratio(token).to_f64());
            log_w += ratios.map(|ratio| bounded(ratio.ln())).sum::<f64>();
        }
        let phi = F::from_f64(self.phi(row.advantage >= F::ZERO, log_w));
        (phi, -(phi * row.advantage))
    }

    fn token(&self, &(_, weight): &(F, F), logp: F, _ratio: F) -> Term<F> {
        Term::of_logp(weight * logp, weight)
    }

    fn sequence_weight(&self, row: &(F, F)) -> Option<F> {
        Some(row.0)
    }

    fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("k_pos", self.k_pos),
            ("lambda_pos", self.lambda_pos),
            ("k_neg", self.k_neg),
            ("lambda_neg", self.lambda_neg),
        ] {
            let valid = value.is_finite() && value >= 0.0;
            Error::check(valid, field, value, "zero or more")?;
        }
        Ok(())
    }
}
