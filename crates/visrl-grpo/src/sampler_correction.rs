//! The correction for a sampler that is not quite the learner.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::real::Real;

/// What is done with the ratio `p_old / p_sampler`, of a token or (the product) of a sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// A token's ratio is clamped into the bounds.
    TokenTruncate,
    /// A token with a ratio outside the bounds is dropped (ratio 0).
    TokenMask,
    /// A sequence's ratio is clamped into the bounds.
    SequenceTruncate,
    /// A sequence with a ratio outside the bounds is dropped (ratio 0).
    #[default]
    SequenceMask,
}

/// Corrects for a sampler that is not quite the learner: tokens were drawn from `p_sampler`, but
/// gradients assume `p_old`. The policy term of each token is multiplied by `p_old / p_sampler`,
/// truncated or masked so that single outliers do not dominate. Where the sampler reported no
/// log-probability (NaN), the ratio is 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportanceCorrection {
    /// Per token or per sequence, truncated or masked. Default the sequence mask.
    pub mode: CorrectionMode,
    /// The lower bound; `None`: none. Default none.
    pub clip_min: Option<f64>,
    /// The upper bound; `None`: none. Default 3.
    pub clip_max: Option<f64>,
}

impl Default for ImportanceCorrection {
    fn default() -> Self {
        Self { mode: CorrectionMode::default(), clip_min: None, clip_max: Some(3.0) }
    }
}

impl ImportanceCorrection {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Error::Config`] when a bound is negative, infinite or not a number, the upper one is 0, or
    /// the bounds cross.
    pub fn validate(&self) -> Result<()> {
        let min = self.clip_min.unwrap_or(0.0);
        let max = self.clip_max.unwrap_or(f64::MAX);
        let good = min >= 0.0 && min.is_finite();
        Error::check(good, "importance_correction.clip_min", min, "zero or more, or left out")?;
        let good = max >= min && max > 0.0 && max.is_finite();
        let allowed = "above zero and at least clip_min, or left out";
        Error::check(good, "importance_correction.clip_max", max, allowed)
    }

    /// The ratios of one row, from log-probabilities of the learner's old policy and of the
    /// sampler, `[tokens of the row]` both.
    pub(crate) fn row<'a, F: Real>(&self, old: &'a [F], sampler: &'a [F]) -> RowCorrection<'a, F> {
        if matches!(self.mode, CorrectionMode::TokenTruncate | CorrectionMode::TokenMask) {
            return RowCorrection::Tokens(*self, old, sampler);
        }
        let log_ratios = old.iter().zip(sampler).map(|(o, s)| log_ratio(*o, *s).to_f64());
        RowCorrection::Sequence(self.bounded(F::from_f64(log_ratios.sum()).exp()))
    }

    /// Truncates or masks one ratio.
    fn bounded<F: Real>(&self, ratio: F) -> F {
        let min = F::from_f64(self.clip_min.unwrap_or(f64::NEG_INFINITY));
        let max = F::from_f64(self.clip_max.unwrap_or(f64::INFINITY));
        match self.mode {
            CorrectionMode::TokenMask | CorrectionMode::SequenceMask => {
                let outside = ratio < min || ratio > max;
                if outside { F::ZERO } else { ratio }
            }
            _ => ratio.at_least(min).at_most(max),
        }
    }
}

/// The log ratio of learner to sampler; 0 where the sampler reported none.
fn log_ratio<F: Real>(old: F, sampler: F) -> F {
    let log_ratio = old - sampler;
    if log_ratio.is_nan() { F::ZERO } else { log_ratio }
}

/// The ratios that correct the tokens of one row.
#[derive(Debug, Clone, Copy)]
pub enum RowCorrection<'a, F> {
    /// No correction: every ratio is 1.
    None,
    /// One ratio for all tokens.
    Sequence(F),
    /// One ratio per token, computed when asked for from the log-probabilities of the learner's old
    /// policy and of the sampler, `[tokens of the row]` both.
    Tokens(ImportanceCorrection, &'a [F], &'a [F]),
}

impl<F: Real> RowCorrection<'_, F> {
    /// The ratio of a token of the row.
    pub fn ratio(&self, token: usize) -> F {
        match self {
            Self::None => F::ONE,
            Self::Sequence(ratio) => *ratio,
            Self::Tokens(rule, old, sampler) => {
                rule.bounded(log_ratio(old[token], sampler[token]).exp())
            }
        }
    }
}

#[cfg(test)]
#[test]
fn the_four_modes() {
    use CorrectionMode::*;
    // Token ratios 4, 1/2 and unknown; their product is 2.
    let old = [0.8f64, 0.1, 0.5].map(f64::ln);
    let sampler = [0.2f64.ln(), 0.2f64.ln(), f64::NAN];
    for (mode, clip_min, expected) in [
        (TokenTruncate, None, [3.0, 0.5, 1.0]),
        (TokenTruncate, Some(0.7), [3.0, 0.7, 1.0]),
        (TokenMask, Some(0.7), [0.0, 0.0, 1.0]),
        (SequenceTruncate, None, [2.0; 3]),
        (SequenceMask, Some(2.5), [0.0; 3]),
    ] {
        let mut correction = ImportanceCorrection::default();
        (correction.mode, correction.clip_min) = (mode, clip_min);
        let row = correction.row(&old, &sampler);
        for (t, expected) in expected.into_iter().enumerate() {
            assert!((row.ratio(t) - expected).abs() < 1e-12, "{mode:?} {clip_min:?} {t}");
        }
        correction.clip_min = Some(4.0);
        assert!(correction.validate().is_err());
    }
}
