//! Importance sampling: at which level ratios are taken, and how a foreign sampler is corrected.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::real::Real;

/// Whether the ratio `p / p_old` is taken per token or per sequence.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImportanceLevel {
    /// `exp(logp_t - old_t)` for each token: GRPO (arXiv 2402.03300). The default.
    #[default]
    Token,
    /// `exp(mean_t(logp_t - old_t))`, one ratio for the whole completion: GSPO
    /// (arXiv 2507.18071, equation 7). Usual clip bounds are much narrower here (3e-4 to 4e-2).
    Sequence,
}

/// What is done with the ratio `p_old / p_sampler`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CorrectionMode {
    /// One ratio per token, clamped into the bounds.
    TokenTruncate,
    /// One ratio per token; a token outside the bounds is dropped (ratio 0).
    TokenMask,
    /// One ratio per sequence (the product over its tokens), clamped into the bounds.
    SequenceTruncate,
    /// One ratio per sequence; a sequence outside the bounds is dropped (ratio 0). The default.
    #[default]
    SequenceMask,
}

/// Corrects for a sampler that is not quite the learner: another engine, another precision.
///
/// The tokens were drawn from `p_sampler`, but gradients assume `p_old`. The policy term of each
/// token is multiplied by `p_old / p_sampler`, truncated or masked so that single outliers do
/// not dominate. Where the sampler reported no log-probability (NaN), the ratio is 1.
///
/// ```
/// use visrl_grpo::{CorrectionMode, ImportanceCorrection};
/// # fn main() -> Result<(), visrl_grpo::Error> {
/// let correction = ImportanceCorrection {
///     mode: CorrectionMode::TokenTruncate,
///     ..ImportanceCorrection::default()
/// };
/// let mut ratios = [0.0f64; 3];
/// correction.ratios_into(3, &[0.0, -1.0, -9.0], &[-2.0, -1.0, -1.0], &[true, true, false], &mut ratios)?;
/// assert_eq!(ratios, [3.0, 1.0, 1.0]); // e^2 is cut at 3; a token that does not count keeps 1
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImportanceCorrection {
    /// Per token or per sequence, truncated or masked.
    pub mode: CorrectionMode,
    /// The lower bound; `None`: none. Default none.
    pub clip_min: Option<f64>,
    /// The upper bound; `None`: none. Default 3.
    pub clip_max: Option<f64>,
}

impl Default for ImportanceCorrection {
    fn default() -> Self {
        Self {
            mode: CorrectionMode::default(),
            clip_min: None,
            clip_max: Some(3.0),
        }
    }
}

impl ImportanceCorrection {
    /// The ratios of padded rows of `len` tokens; all slices have the same length, a multiple
    /// of `len`. Sequence modes write the row's ratio to each of its counted tokens; tokens that
    /// do not count get 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when the lengths do not fit; [`Error::Config`] for bounds that leave
    /// nothing.
    pub fn ratios_into<F: Real>(
        &self,
        len: usize,
        old_logps: &[F],
        sampler_logps: &[F],
        mask: &[bool],
        out: &mut [F],
    ) -> Result<()> {
        self.validate()?;
        let rows = out.len().checked_div(len).unwrap_or(0);
        Error::check_shape("out", out.len(), rows, len)?;
        Error::check_shape("old_logps", old_logps.len(), rows, len)?;
        Error::check_shape("sampler_logps", sampler_logps.len(), rows, len)?;
        Error::check_shape("mask", mask.len(), rows, len)?;
        for row in 0..rows {
            let at = row * len..(row + 1) * len;
            self.row_into(
                &old_logps[at.clone()],
                &sampler_logps[at.clone()],
                &mask[at.clone()],
                &mut out[at],
            );
        }
        Ok(())
    }

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Error::Config`] when a bound is negative or not a number, or the bounds cross.
    pub fn validate(&self) -> Result<()> {
        let (min, max) = (
            self.clip_min.unwrap_or(0.0),
            self.clip_max.unwrap_or(f64::INFINITY),
        );
        Error::check_config(
            min >= 0.0,
            "importance_correction.clip_min",
            min,
            "zero or more",
        )?;
        Error::check_config(
            max >= min,
            "importance_correction.clip_max",
            max,
            "at least clip_min",
        )
    }

    /// The ratios of one row; all slices have the same length.
    pub(crate) fn row_into<F: Real>(&self, old: &[F], sampler: &[F], mask: &[bool], out: &mut [F]) {
        let difference = |t: usize| {
            let d = old[t] - sampler[t];
            if mask[t] && !d.is_nan() { d } else { F::ZERO }
        };
        match self.mode {
            CorrectionMode::TokenTruncate | CorrectionMode::TokenMask => {
                for (t, ratio) in out.iter_mut().enumerate() {
                    let counted = mask[t];
                    *ratio = if counted {
                        self.bounded(difference(t).exp())
                    } else {
                        F::ONE
                    };
                }
            }
            CorrectionMode::SequenceTruncate | CorrectionMode::SequenceMask => {
                let sum: F = (0..out.len()).map(difference).sum();
                let shared = self.bounded(sum.exp());
                for (ratio, counted) in out.iter_mut().zip(mask) {
                    *ratio = if *counted { shared } else { F::ONE };
                }
            }
        }
    }

    /// Truncates or masks one ratio.
    fn bounded<F: Real>(&self, ratio: F) -> F {
        let min = self.clip_min.map(F::from_f64);
        let max = self.clip_max.map(F::from_f64);
        match self.mode {
            CorrectionMode::TokenTruncate | CorrectionMode::SequenceTruncate => {
                let ratio = min.map_or(ratio, |m| ratio.at_least(m));
                max.map_or(ratio, |m| ratio.at_most(m))
            }
            CorrectionMode::TokenMask | CorrectionMode::SequenceMask => {
                let outside = min.is_some_and(|m| ratio < m) || max.is_some_and(|m| ratio > m);
                if outside { F::ZERO } else { ratio }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ratios(mode: CorrectionMode, clip_min: Option<f64>) -> Vec<f64> {
        let ln = f64::ln;
        let old = [ln(0.8), ln(0.1), ln(0.5), ln(0.5)];
        let sampler = [ln(0.2), ln(0.2), f64::NAN, ln(0.1)];
        let mut out = vec![0.0; 4];
        ImportanceCorrection {
            mode,
            clip_min,
            clip_max: Some(3.0),
        }
        .ratios_into(4, &old, &sampler, &[true, true, true, false], &mut out)
        .unwrap();
        out
    }

    fn close(a: &[f64], b: &[f64]) -> bool {
        a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-12)
    }

    #[test]
    fn the_four_modes() {
        // token ratios 4, 1/2, unknown; their product is 2
        assert!(close(
            &ratios(CorrectionMode::TokenTruncate, None),
            &[3.0, 0.5, 1.0, 1.0]
        ));
        assert!(close(
            &ratios(CorrectionMode::TokenTruncate, Some(0.7)),
            &[3.0, 0.7, 1.0, 1.0]
        ));
        assert!(close(
            &ratios(CorrectionMode::TokenMask, Some(0.7)),
            &[0.0, 0.0, 1.0, 1.0]
        ));
        assert!(close(
            &ratios(CorrectionMode::SequenceTruncate, None),
            &[2.0, 2.0, 2.0, 1.0]
        ));
        assert!(close(
            &ratios(CorrectionMode::SequenceMask, Some(2.5)),
            &[0.0, 0.0, 0.0, 1.0]
        ));
    }

    #[test]
    fn crossing_bounds_and_wrong_shapes_are_refused() {
        let bad = ImportanceCorrection {
            clip_min: Some(4.0),
            ..Default::default()
        };
        assert!(matches!(bad.validate(), Err(Error::Config { .. })));
        let good = ImportanceCorrection::default();
        let mut out = [0.0f32; 3];
        assert!(
            good.ratios_into(2, &[0.0; 3], &[0.0; 3], &[true; 3], &mut out)
                .is_err()
        );
        assert!(
            good.ratios_into(3, &[0.0; 2], &[0.0; 3], &[true; 3], &mut out)
                .is_err()
        );
    }
}
