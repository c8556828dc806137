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
    minus_advantage: F,
    /// The bounds that the advantage's sign leaves.
    low: F,
    high: F,
    /// The bound of the unclipped branch; infinite without one.
    delta: F,
    /// Below this and above that, the clipped branch was taken.
    clips_below: F,
    clips_above: F,
}

impl<F: Real> Surrogate<F> for Clipped {
    type Row = ClippedRow<F>;

    /// `min(a A, b A)` is `min(a, b) A` or `max(a, b) A` by the sign of `A`; and with
    /// `a = min(r, delta)` and `b = clamp(r, low, high)` the first is `min(r, high, delta)` and the
    /// second `max(low, min(r, max(high, delta)))`.
    #[inline]
    fn row(&self, row: &RowView<'_, F>) -> ClippedRow<F> {
        let infinity = F::from_f64(f64::INFINITY);
        let low = F::from_f64(1.0 - self.epsilon);
        let high = F::from_f64(1.0 + self.epsilon_high.unwrap_or(self.epsilon));
        let delta = F::from_f64(self.delta.unwrap_or(f64::INFINITY));
        let advantage = row.advantage;
        let (positive, negative) = (advantage > F::ZERO, advantage < F::ZERO);
        ClippedRow {
            minus_advantage: -advantage,
            low: if positive { -infinity } else { low },
            high: if positive {
                high.at_most(delta)
            } else {
                high.at_least(delta)
            },
            delta,
            clips_below: if negative { low } else { -infinity },
            clips_above: if positive { high } else { infinity },
        }
    }

    #[inline(always)]
    fn token(&self, row: &ClippedRow<F>, token: &TokenView<F>) -> Term<F> {
        let ratio = token.ratio;
        let bounded = ratio.at_most(row.high).at_least(row.low);
        let slope = if bounded == ratio { ratio } else { F::ZERO };
        let first = ratio.at_most(row.delta);
        let clip = if first < row.clips_below {
            Clip::Low
        } else if first > row.clips_above {
            Clip::High
        } else {
            Clip::None
        };
        Term {
            loss: row.minus_advantage * bounded,
            d_logp: F::ZERO,
            d_log_ratio: row.minus_advantage * slope,
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
