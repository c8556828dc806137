//! A soft gate instead of a hard clip.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term, TokenView};
use crate::real::Real;

/// SAPO, soft adaptive policy optimization (arXiv 2511.20347), with ratio `r` and temperature
/// `tau`:
///
/// `-(4 / tau) * sigmoid(tau (r - 1)) * A`
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
        Self {
            temperature_pos: 1.0,
            temperature_neg: 1.05,
        }
    }
}

impl<F: Real> Surrogate<F> for Sapo {
    /// The advantage, and the temperature.
    type Row = (F, F);

    #[inline]
    fn row(&self, row: &RowView<'_, F>) -> (F, F) {
        let positive = row.advantage > F::ZERO;
        let tau = if positive {
            self.temperature_pos
        } else {
            self.temperature_neg
        };
        (row.advantage, F::from_f64(tau))
    }

    #[inline]
    fn token(&self, row: &(F, F), token: &TokenView<F>) -> Term<F> {
        let (advantage, tau) = *row;
        let four = F::from_f64(4.0);
        let gate = F::ONE / (F::ONE + (-(tau * (token.ratio - F::ONE))).exp());
        let slope = four * gate * (F::ONE - gate);
        // An infinite ratio has a closed gate, not an undefined one.
        let reach = if slope == F::ZERO {
            F::ZERO
        } else {
            slope * token.ratio
        };
        Term {
            loss: -(gate * four / tau * advantage),
            d_logp: F::ZERO,
            d_log_ratio: -(reach * advantage),
            clip: Clip::None,
        }
    }

    fn validate(&self) -> Result<()> {
        for (field, tau) in [
            ("temperature_pos", self.temperature_pos),
            ("temperature_neg", self.temperature_neg),
        ] {
            Error::check_config(tau > 0.0 && tau.is_finite(), field, tau, "above zero")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_policy_it_is_the_plain_ratio() {
        let token = TokenView {
            logp: 0.0,
            log_ratio: 0.0,
            ratio: 1.0f64,
        };
        assert_eq!(Sapo::default().token(&(3.0, 1.0), &token).d_log_ratio, -3.0);
    }

    #[test]
    fn the_gate_closes() {
        let far = TokenView {
            logp: 0.0,
            log_ratio: 1e3,
            ratio: f64::INFINITY,
        };
        assert_eq!(Sapo::default().token(&(3.0, 1.0), &far).d_log_ratio, 0.0);
        assert!(
            Surrogate::<f64>::validate(&Sapo {
                temperature_pos: 0.0,
                ..Sapo::default()
            })
            .is_err()
        );
    }
}
