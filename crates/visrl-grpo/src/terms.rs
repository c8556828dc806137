//! The parts of a loss that are the same for every family.

use serde::{Deserialize, Serialize};

use crate::batch::TokenBatch;
use crate::entropy::quantile;
use crate::error::{Error, Result};
use crate::importance::{ImportanceCorrection, ImportanceLevel};
use crate::kl::Kl;
use crate::normalization::Normalization;
use crate::real::Real;
use crate::schedule::Schedule;

/// What a row without a counted token contributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyRows {
    /// Loss 0 and gradient 0, but the row is counted. The default.
    #[default]
    Zero,
    /// `0 / 0`, as a per-sequence mean without a guard computes it: the loss and the row's
    /// gradient become NaN. For comparisons with code that has no guard, never for training.
    Nan,
}

/// The options that every loss family shares. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Terms {
    /// Weight of the KL term that ties the policy to the reference; 0 turns it off (and the
    /// reference is not needed). Default 0.04.
    pub beta: f64,
    /// How beta changes over the run: each [`set_step`](crate::PolicyLoss::set_step), which a
    /// learner calls before every optimizer step, sets `beta` to the schedule's value. Default
    /// none: beta stays what it is.
    pub beta_schedule: Option<Schedule>,
    /// The KL estimator. Default k3.
    pub kl: Kl,
    /// Multiplies the KL estimate by the importance ratio, which makes it unbiased for tokens of
    /// an older policy (arXiv 2512.02556). Default false.
    pub use_bias_correction_kl: bool,
    /// Whether ratios are taken per token or per sequence (GSPO). Default token.
    pub importance_sampling_level: ImportanceLevel,
    /// Only this fraction of tokens, those of highest entropy, takes part in the policy term
    /// (arXiv 2506.01939 recommends 0.2); 1 is all. The KL term keeps all tokens and the
    /// normalization does not change. Default 1.
    pub top_entropy_quantile: f64,
    /// Weight of the entropy bonus: `- entropy_coef * mean entropy` of the selected tokens.
    /// Default 0.
    pub entropy_coef: f64,
    /// Drops rows of negative advantage from the policy term when the mean log ratio of the
    /// sampling policy to the current one exceeds this (arXiv 2512.02556). Default none.
    pub off_policy_mask_threshold: Option<f64>,
    /// Corrects for a foreign sampler, where batches carry its log-probabilities. Default none.
    pub importance_correction: Option<ImportanceCorrection>,
    /// Leaves out completions that were cut at the length limit (DAPO, arXiv 2503.14476,
    /// overlong filtering). Default false.
    pub mask_truncated_completions: bool,
    /// What a row without a counted token contributes. Default zero.
    pub empty_rows: EmptyRows,
}

impl Default for Terms {
    fn default() -> Self {
        Self {
            beta: 0.04,
            beta_schedule: None,
            kl: Kl::K3,
            use_bias_correction_kl: false,
            importance_sampling_level: ImportanceLevel::Token,
            top_entropy_quantile: 1.0,
            entropy_coef: 0.0,
            off_policy_mask_threshold: None,
            importance_correction: None,
            mask_truncated_completions: false,
            empty_rows: EmptyRows::Zero,
        }
    }
}

/// Which of the fields that some option needs a batch carries.
pub(crate) struct Present {
    pub(crate) reference: bool,
    pub(crate) entropies: bool,
    /// The sampler's log-probabilities, or ratios.
    pub(crate) sampler: bool,
    pub(crate) truncated: bool,
}

impl Terms {
    /// Checks every value's range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let Self {
            beta,
            top_entropy_quantile,
            entropy_coef,
            ..
        } = *self;
        Error::check_config(
            beta.is_finite() && beta >= 0.0,
            "beta",
            beta,
            "zero or more",
        )?;
        self.beta_schedule.map_or(Ok(()), |s| s.validate_beta())?;
        Error::check_config(
            (0.0..=1.0).contains(&top_entropy_quantile) && top_entropy_quantile > 0.0,
            "top_entropy_quantile",
            top_entropy_quantile,
            "above 0 and at most 1",
        )?;
        Error::check_config(
            entropy_coef.is_finite(),
            "entropy_coef",
            entropy_coef,
            "finite",
        )?;
        if let Some(threshold) = self.off_policy_mask_threshold {
            let field = "off_policy_mask_threshold";
            Error::check_config(threshold >= 0.0, field, threshold, "zero or more")?;
        }
        self.importance_correction.map_or(Ok(()), |c| c.validate())
    }

    /// Checks the options, the batch's shapes, and that the batch carries what they need.
    pub(crate) fn check<F: Real>(&self, batch: &TokenBatch<'_, F>) -> Result<()> {
        self.validate()?;
        batch.validate()?;
        self.check_present(&Present {
            reference: batch.ref_logps.is_some(),
            entropies: batch.entropies.is_some(),
            sampler: batch.sampler_logps.is_some() || batch.importance_ratios.is_some(),
            truncated: batch.truncated.is_some(),
        })
    }

    /// Checks that a batch carries what the options need.
    pub(crate) fn check_present(&self, present: &Present) -> Result<()> {
        let missing = |field, needed_by, advice| {
            Err(Error::Missing {
                field,
                needed_by,
                advice,
            })
        };
        if self.uses_reference() && !present.reference {
            return missing("ref_logps", "beta", "add with_ref_logps, or set beta to 0");
        }
        if self.needs_entropies() && !present.entropies {
            return missing(
                "entropies",
                "entropy_coef or top_entropy_quantile",
                "add with_entropies, or set entropy_coef to 0 and top_entropy_quantile to 1",
            );
        }
        if self.importance_correction.is_some() && !present.sampler {
            return missing(
                "sampler_logps",
                "importance_correction",
                "add with_sampler_logps or with_importance_ratios, or set it to none",
            );
        }
        if self.mask_truncated_completions && !present.truncated {
            return missing(
                "truncated",
                "mask_truncated_completions",
                "add with_truncated, or set the option to false",
            );
        }
        Ok(())
    }

    /// Whether the KL term is on, now or at a later step of beta's schedule.
    pub fn needs_reference(&self) -> bool {
        self.beta != 0.0
            || self
                .beta_schedule
                .is_some_and(|schedule| !schedule.is_zero())
    }

    /// Whether the KL term is on now.
    pub(crate) fn uses_reference(&self) -> bool {
        self.beta != 0.0
    }

    /// Sets beta to its schedule's value.
    pub(crate) fn set_step(&mut self, step: u64) {
        if let Some(schedule) = self.beta_schedule {
            self.beta = schedule.at(step);
        }
    }

    /// Whether the entropy quantile or the entropy bonus is on.
    pub fn needs_entropies(&self) -> bool {
        self.top_entropy_quantile < 1.0 || self.entropy_coef != 0.0
    }

    /// The counts of a checked batch taken whole.
    pub(crate) fn count<F: Real>(&self, batch: &TokenBatch<'_, F>) -> Normalization {
        let kept = |row: &usize| !batch.is_dropped(*row, self.mask_truncated_completions);
        let tokens = if self.mask_truncated_completions {
            let count = |row| crate::lanes::count(&batch.mask[batch.row(row)]);
            (0..batch.rows()).filter(kept).map(count).sum()
        } else {
            batch.tokens()
        };
        let mut counts = Normalization::new(batch.rows(), tokens);
        if let (true, Some(entropies)) = (self.top_entropy_quantile < 1.0, batch.entropies) {
            let mut counted = Vec::with_capacity(tokens);
            for row in (0..batch.rows()).filter(kept) {
                let at = batch.row(row);
                let pairs = entropies[at.clone()].iter().zip(&batch.mask[at]);
                counted.extend(pairs.filter(|(_, m)| **m).map(|(e, _)| *e));
            }
            counts.entropy_threshold = quantile(&mut counted, 1.0 - self.top_entropy_quantile);
            if let Some(threshold) = counts.entropy_threshold {
                let selected = counted.iter().filter(|e| e.to_f64() >= threshold).count();
                counts.entropy_tokens = selected as f64;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_are_named() {
        let batch = TokenBatch::new(1, &[0.0f32], &[true], &[1.0]);
        let off = Terms {
            beta: 0.0,
            ..Terms::default()
        };
        assert!(off.check(&batch).is_ok());
        let missing = |terms: Terms| match terms.check(&batch) {
            Err(Error::Missing { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(missing(Terms::default()), "ref_logps");
        assert_eq!(
            missing(Terms {
                entropy_coef: 0.1,
                ..off
            }),
            "entropies"
        );
        assert_eq!(
            missing(Terms {
                top_entropy_quantile: 0.2,
                ..off
            }),
            "entropies"
        );
        assert_eq!(
            missing(Terms {
                mask_truncated_completions: true,
                ..off
            }),
            "truncated"
        );
        let correction = Some(ImportanceCorrection::default());
        assert_eq!(
            missing(Terms {
                importance_correction: correction,
                ..off
            }),
            "sampler_logps"
        );
    }

    #[test]
    fn ranges_are_checked() {
        let bad = [
            Terms {
                beta: -1.0,
                ..Terms::default()
            },
            Terms {
                beta: f64::NAN,
                ..Terms::default()
            },
            Terms {
                top_entropy_quantile: 0.0,
                ..Terms::default()
            },
            Terms {
                top_entropy_quantile: 1.5,
                ..Terms::default()
            },
            Terms {
                entropy_coef: f64::INFINITY,
                ..Terms::default()
            },
            Terms {
                off_policy_mask_threshold: Some(-0.1),
                ..Terms::default()
            },
        ];
        for terms in bad {
            assert!(
                matches!(terms.validate(), Err(Error::Config { .. })),
                "{terms:?}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_str::<Terms>(r#"{"betta": 0.1}"#).unwrap_err();
        assert!(error.to_string().contains("betta"));
        let terms: Terms = serde_json::from_str(r#"{"beta": 0.1}"#).unwrap();
        assert_eq!(
            terms,
            Terms {
                beta: 0.1,
                ..Terms::default()
            }
        );
    }

    #[test]
    fn counts_leave_out_cut_rows_and_unselected_tokens() {
        let entropies = [0.1, 0.9, 0.5, 7.0f64];
        let batch = TokenBatch::new(2, &[0.0; 4], &[true, true, true, false], &[1.0, 2.0])
            .with_entropies(&entropies)
            .with_truncated(&[false, true]);
        let all = Terms {
            top_entropy_quantile: 0.5,
            ..Terms::default()
        };
        let counts = all.count(&batch);
        assert_eq!(
            (counts.sequences, counts.tokens, counts.entropy_tokens),
            (2.0, 3.0, 2.0)
        );
        assert_eq!(counts.entropy_threshold, Some(0.5));
        let counts = Terms {
            mask_truncated_completions: true,
            ..all
        }
        .count(&batch);
        assert_eq!(
            (counts.sequences, counts.tokens, counts.entropy_tokens),
            (2.0, 2.0, 1.0)
        );
    }
}
