//! The clipped ratio of PPO and GRPO.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term, TokenView};
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
        Self {
            epsilon: 0.2,
            epsilon_high: None,
            delta: None,
        }
    }
}

/// The bounds and the advantage of one row, in the batch's precision.
#[derive(Debug, Clone, Copy)]
#[doc(hidden)]
pub struct ClippedRow<F> {
    advantage: F,
    low: F,
    high: F,
    /// The bound of the unclipped branch; infinite without one.
    delta: F,
}

impl<F: Real> Surrogate<F> for Clipped {
    type Row = ClippedRow<F>;

    #[inline]
    fn row(&self, row: &RowView<'_, F>) -> ClippedRow<F> {
        ClippedRow {
            advantage: row.advantage,
            low: F::from_f64(1.0 - self.epsilon),
            high: F::from_f64(1.0 + self.epsilon_high.unwrap_or(self.epsilon)),
            delta: F::from_f64(self.delta.unwrap_or(f64::INFINITY)),
        }
    }

    #[inline]
    fn token(&self, row: &ClippedRow<F>, token: &TokenView<F>) -> Term<F> {
        let (advantage, ratio) = (row.advantage, token.ratio);
        let bounded = ratio.at_most(row.delta);
        let clipped = ratio.at_least(row.low).at_most(row.high);
        // min(bounded A, clipped A), without products that may be infinity times zero.
        let taken = if advantage >= F::ZERO {
            bounded.at_most(clipped)
        } else {
            bounded.at_least(clipped)
        };
        let clip = if bounded < row.low && advantage < F::ZERO {
            Clip::Low
        } else if bounded > row.high && advantage > F::ZERO {
            Clip::High
        } else {
            Clip::None
        };
        Term {
            loss: -(taken * advantage),
            d_logp: F::ZERO,
            d_log_ratio: if taken == ratio {
                -(ratio * advantage)
            } else {
                F::ZERO
            },
            clip,
        }
    }

    fn validate(&self) -> Result<()> {
        let bound = |field, value: f64| {
            Error::check_config(
                value.is_finite() && value >= 0.0,
                field,
                value,
                "zero or more",
            )
        };
        bound("epsilon", self.epsilon)?;
        bound("epsilon_high", self.epsilon_high.unwrap_or(0.0))?;
        let delta = self.delta.unwrap_or(1.0);
        Error::check_config(delta > 0.0, "delta", delta, "above zero")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler_correction::RowCorrection;

    /// Loss, derivative and clip of a token under these bounds.
    fn term(clip: Clipped, advantage: f64, ratio: f64) -> (f64, f64, Clip) {
        let row = clip.row(&RowView {
            advantage,
            logps: &[0.0],
            old_logps: None,
            correction: RowCorrection::None,
        });
        let term = clip.token(
            &row,
            &TokenView {
                logp: 0.0,
                log_ratio: ratio.ln(),
                ratio,
            },
        );
        assert_eq!(term.d_logp, 0.0);
        (term.loss, term.d_log_ratio, term.clip)
    }

    #[test]
    fn clips_only_where_it_would_improve() {
        let clip = Clipped {
            epsilon_high: Some(0.3),
            ..Clipped::default()
        };
        assert_eq!(term(clip, 2.0, 1.5), (-2.6, 0.0, Clip::High));
        assert_eq!(term(clip, -2.0, 1.5), (3.0, 3.0, Clip::None));
        assert_eq!(term(clip, -2.0, 0.5), (1.6, 0.0, Clip::Low));
        assert_eq!(term(clip, 2.0, 1.1), (-2.2, -2.2, Clip::None));
    }

    #[test]
    fn delta_bounds_bad_tokens() {
        let clip = Clipped {
            delta: Some(4.0),
            ..Clipped::default()
        };
        assert_eq!(term(clip, -1.0, 9.0), (4.0, 0.0, Clip::None));
    }

    #[test]
    fn ranges_are_checked() {
        let clip = |epsilon, epsilon_high, delta| Clipped {
            epsilon,
            epsilon_high,
            delta,
        };
        assert!(Surrogate::<f32>::validate(&Clipped::default()).is_ok());
        for clip in [
            clip(-0.1, None, None),
            clip(0.2, Some(f64::NAN), None),
            clip(0.2, None, Some(0.0)),
        ] {
            assert!(Surrogate::<f32>::validate(&clip).is_err());
        }
    }
}
