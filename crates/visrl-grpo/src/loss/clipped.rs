//! The clipped ratio of PPO and GRPO.

use serde::{Deserialize, Serialize};

use super::surrogate::{Clip, RowView, Surrogate, Term, TokenView};
use crate::error::{Error, Result};
use crate::real::Real;

/// The clipped surrogate of GRPO (arXiv 2402.03300, equation 3), with ratio `r`:
///
/// `-min(r A, clamp(r, 1 - epsilon, 1 + epsilon_high) A)`
///
/// * `epsilon_high` above `epsilon` is DAPO's clip-higher (arXiv 2503.14476 recommends 0.28).
/// * `delta` also bounds the first branch, `min(r, delta) A` (two-sided clipping, INTELLECT-2,
///   arXiv 2505.07291): without it a large ratio with a negative advantage has no bound.
///
/// Where both branches are equal, the derivative is the mean of theirs; they differ only on a
/// bound.
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
    /// Infinite without a bound.
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

    #[inline(always)]
    fn token(&self, row: &ClippedRow<F>, token: &TokenView<F>) -> Term<F> {
        let ClippedRow {
            advantage,
            low,
            high,
            delta,
        } = *row;
        let ratio = token.ratio;
        let first = ratio.at_most(delta);
        let second = ratio.at_least(low).at_most(high);
        let slope = |bounded: F| if bounded == ratio { ratio } else { F::ZERO };
        let (a, b) = (first * advantage, second * advantage);
        let (value, slope) = if a < b {
            (a, slope(first))
        } else if a > b {
            (b, slope(second))
        } else {
            (a, (slope(first) + slope(second)) * F::from_f64(0.5))
        };
        let clip = if first < low && advantage < F::ZERO {
            Clip::Low
        } else if first > high && advantage > F::ZERO {
            Clip::High
        } else {
            Clip::None
        };
        Term {
            loss: -value,
            d_logp: F::ZERO,
            d_log_ratio: -(slope * advantage),
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

    fn term(clip: Clipped, advantage: f64, ratio: f64) -> Term<f64> {
        let row = RowView {
            advantage,
            tokens: 1,
            logps: &[0.0],
            old_logps: None,
            mask: &[true],
            importance_ratios: None,
        };
        clip.token(
            &clip.row(&row),
            &TokenView {
                logp: 0.0,
                log_ratio: ratio.ln(),
                ratio,
            },
        )
    }

    #[test]
    fn clips_only_where_it_would_improve() {
        let clip = Clipped {
            epsilon_high: Some(0.3),
            ..Clipped::default()
        };
        let high = term(clip, 2.0, 1.5);
        assert_eq!(
            (high.loss, high.d_log_ratio, high.clip),
            (-2.6, 0.0, Clip::High)
        );
        let free = term(clip, -2.0, 1.5);
        assert_eq!(
            (free.loss, free.d_log_ratio, free.clip),
            (3.0, 3.0, Clip::None)
        );
        let low = term(clip, -2.0, 0.5);
        assert_eq!((low.loss, low.d_log_ratio, low.clip), (1.6, 0.0, Clip::Low));
        let inside = term(clip, 2.0, 1.1);
        assert_eq!((inside.loss, inside.d_log_ratio), (-2.2, -2.2));
    }

    #[test]
    fn delta_bounds_bad_tokens() {
        let clip = Clipped {
            delta: Some(4.0),
            ..Clipped::default()
        };
        let bounded = term(clip, -1.0, 9.0);
        assert_eq!((bounded.loss, bounded.d_log_ratio), (4.0, 0.0));
    }

    #[test]
    fn ranges_are_checked() {
        for clip in [
            Clipped {
                epsilon: -0.1,
                ..Default::default()
            },
            Clipped {
                epsilon_high: Some(f64::NAN),
                ..Default::default()
            },
            Clipped {
                delta: Some(0.0),
                ..Default::default()
            },
        ] {
            assert!(Surrogate::<f32>::validate(&clip).is_err());
        }
    }
}
