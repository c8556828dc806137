//! A soft gate instead of a hard clip.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{RowView, Surrogate, Term};
use crate::real::Real;

/// SAPO, soft adaptive policy optimization (arXiv 2511.20347), with ratio `r` and temperature
/// `tau`: `-(4 / tau) sigmoid(tau (r - 1)) A`.
///
/// Near `r = 1` the derivative is that of the plain ratio; far from it the gate closes smoothly.
/// Negative advantages get a higher temperature, hence a tighter gate. Taken as a mean per
/// sequence, then over sequences.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sapo {
    /// Temperature for positive advantages. Default 1.
    pub temperature_pos: f64,
    /// Temperature for the others. Default 1.05.
    pub temperature_neg: f64,
}

impl Default for Sapo {
    fn default() -> Self {
        Self { temperature_pos: 1.0, temperature_neg: 1.05 }
    }
}

impl<F: Real> Surrogate<F> for Sapo {
    /// The advantage, and the temperature.
    type Row = (F, F);

    fn row(&self, row: &RowView<'_, F>) -> (F, F) {
        let tau = match row.advantage > F::ZERO {
            true => self.temperature_pos,
            false => self.temperature_neg,
        };
        (row.advantage, F::from_f64(tau))
    }

    fn token(&self, &(advantage, tau): &(F, F), _logp: F, ratio: F) -> Term<F> {
        let four = F::from_f64(4.0);
        let gate = F::ONE / (F::ONE + (-(tau * (ratio - F::ONE))).exp());
        let slope = four * gate * (F::ONE - gate);
        // An infinite ratio has a closed gate, not an undefined one.
        let reach = if slope == F::ZERO { slope } else { slope * ratio };
        Term::of_ratio(-(gate * four / tau * advantage), -(reach * advantage))
    }

    fn validate(&self) -> Result<()> {
        let valid = |tau: f64| tau > 0.0 && tau.is_finite();
        let (pos, neg) = (self.temperature_pos, self.temperature_neg);
        Error::check(valid(pos), "temperature_pos", pos, "above zero")?;
        Error::check(valid(neg), "temperature_neg", neg, "above zero")
    }
}
