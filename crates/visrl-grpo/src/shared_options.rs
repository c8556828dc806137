//! The parts of a loss that are the same for every family.

use serde::{Deserialize, Serialize};

use crate::beta_schedule::BetaSchedule;
use crate::error::{Error, Result};
use crate::importance_level::ImportanceLevel;
use crate::kl::KlEstimator;
use crate::loss_batch::LossBatch;
use crate::normalization::Normalization;
use crate::quantile::quantile;
use crate::real::Real;
use crate::sampler_correction::ImportanceCorrection;

/// What a row without a token contributes.
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
pub struct SharedOptions {
    /// Weight of the KL term that ties the policy to the reference; 0 turns it off (and the
    /// reference is not needed). Default 0.04.
    pub beta: f64,
    /// How beta changes over the run: each [`set_step`](crate::PolicyLoss::set_step), which a
    /// learner calls before every optimizer step, sets `beta` to the schedule's value. Default
    /// none: beta stays what it is.
    pub beta_schedule: Option<BetaSchedule>,
    /// The KL estimator. Default k3.
    pub kl: KlEstimator,
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
    /// Corrects for a sampler that is not the learner, by the log-probabilities that it reported.
    /// Default none.
    pub importance_correction: Option<ImportanceCorrection>,
    /// Leaves out completions that were cut at the length limit (DAPO, arXiv 2503.14476,
    /// overlong filtering). Default false.
    pub mask_truncated_completions: bool,
    /// What a row without a token contributes. Default zero.
    pub empty_rows: EmptyRows,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            beta: 0.04,
            beta_schedule: None,
            kl: KlEstimator::K3,
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

impl SharedOptions {
    /// Checks every value's range.
    ///
    /// # Errors
    /// [`Error::Config`] naming the first field outside its range.
    pub fn validate(&self) -> Result<()> {
        let (beta, coef) = (self.beta, self.entropy_coef);
        let valid = beta.is_finite() && beta >= 0.0;
        Error::check_config(valid, "beta", beta, "zero or more")?;
        self.beta_schedule.map_or(Ok(()), |s| s.validate_beta())?;
        let share = self.top_entropy_quantile;
        let valid = share > 0.0 && share <= 1.0;
        Error::check_config(
            valid,
            "top_entropy_quantile",
            share,
            "above 0 and at most 1",
        )?;
        Error::check_config(coef.is_finite(), "entropy_coef", coef, "finite")?;
        if let Some(threshold) = self.off_policy_mask_threshold {
            let field = "off_policy_mask_threshold";
            Error::check_config(threshold >= 0.0, field, threshold, "zero or more")?;
        }
        self.importance_correction.map_or(Ok(()), |c| c.validate())
    }

    /// Checks the options, the batch's lengths, and that the batch carries what they need.
    pub(crate) fn check<F: Real>(&self, batch: &LossBatch<'_, F>) -> Result<()> {
        self.check_counted(batch)?;
        if self.uses_reference() && batch.ref_logps.is_none() {
            return missing("ref_logps", "beta", "add with_ref_logps, or set beta to 0");
        }
        if self.needs_entropies() && batch.entropies.is_none() {
            return missing(
                "entropies",
                "entropy_coef",
                "add with_entropies, or set entropy_coef to 0",
            );
        }
        let sampler = batch.sampler_logps.or(batch.importance_ratios);
        if self.importance_correction.is_some() && sampler.is_none() {
            return missing(
                "sampler_logps",
                "importance_correction",
                "add with_sampler_logps or with_importance_ratios, or set it to none",
            );
        }
        Ok(())
    }

    /// As [`check`](Self::check), but only for what [`count`](Self::count) needs.
    fn check_counted<F: Real>(&self, batch: &LossBatch<'_, F>) -> Result<()> {
        self.validate()?;
        batch.validate()?;
        if self.top_entropy_quantile < 1.0 && batch.entropies.is_none() {
            return missing(
                "entropies",
                "top_entropy_quantile",
                "add with_entropies, or set top_entropy_quantile to 1",
            );
        }
        if self.mask_truncated_completions && batch.truncated.is_none() {
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

    /// Checks what counting needs, and counts.
    pub(crate) fn normalization<F: Real>(&self, batch: &LossBatch<'_, F>) -> Result<Normalization> {
        self.check_counted(batch)?;
        Ok(self.count(batch))
    }

    /// The counts of a checked batch taken whole.
    pub(crate) fn count<F: Real>(&self, batch: &LossBatch<'_, F>) -> Normalization {
        let kept = |row: &usize| !batch.is_dropped(*row, self.mask_truncated_completions);
        let rows = || (0..batch.rows()).filter(kept).map(|row| batch.row(row));
        let tokens = rows().map(|at| at.len()).sum();
        let mut counts = Normalization::new(batch.rows(), tokens);
        if let (true, Some(entropies)) = (self.top_entropy_quantile < 1.0, batch.entropies) {
            let mut counted = Vec::with_capacity(tokens);
            counted.extend(rows().flat_map(|at| &entropies[at]).copied());
            counts.entropy_threshold = quantile(&mut counted, 1.0 - self.top_entropy_quantile);
            if let Some(threshold) = counts.entropy_threshold {
                let selected = counted.iter().filter(|e| e.to_f64() >= threshold).count();
                counts.entropy_tokens = selected as f64;
            }
        }
        counts
    }
}

fn missing(field: &'static str, needed_by: &'static str, advice: &'static str) -> Result<()> {
    Err(Error::Missing {
        field,
        needed_by,
        advice,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_fields_are_named() {
        let batch = LossBatch::new(&[1], &[0.0f32], &[1.0]);
        let off = SharedOptions {
            beta: 0.0,
            ..SharedOptions::default()
        };
        assert!(off.check(&batch).is_ok());
        let missing = |change: fn(&mut SharedOptions)| {
            let mut options = off;
            change(&mut options);
            match options.check(&batch) {
                Err(Error::Missing { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(missing(|o| o.beta = 0.04), "ref_logps");
        assert_eq!(missing(|o| o.entropy_coef = 0.1), "entropies");
        assert_eq!(missing(|o| o.top_entropy_quantile = 0.2), "entropies");
        assert_eq!(
            missing(|o| o.mask_truncated_completions = true),
            "truncated"
        );
        let correct = |o: &mut SharedOptions| o.importance_correction = Some(Default::default());
        assert_eq!(missing(correct), "sampler_logps");
    }

    #[test]
    fn ranges_are_checked() {
        let bad: [fn(&mut SharedOptions); 6] = [
            |o| o.beta = -1.0,
            |o| o.beta = f64::NAN,
            |o| o.top_entropy_quantile = 0.0,
            |o| o.top_entropy_quantile = 1.5,
            |o| o.entropy_coef = f64::INFINITY,
            |o| o.off_policy_mask_threshold = Some(-0.1),
        ];
        for change in bad {
            let mut options = SharedOptions::default();
            change(&mut options);
            assert!(
                matches!(options.validate(), Err(Error::Config { .. })),
                "{options:?}"
            );
        }
    }

    #[test]
    fn unknown_fields_are_refused() {
        let error = serde_json::from_str::<SharedOptions>(r#"{"betta": 0.1}"#).unwrap_err();
        assert!(error.to_string().contains("betta"));
        let options: SharedOptions = serde_json::from_str(r#"{"beta": 0.1}"#).unwrap();
        let beta = 0.1;
        assert_eq!(
            options,
            SharedOptions {
                beta,
                ..SharedOptions::default()
            }
        );
    }

    #[test]
    fn counts_leave_out_cut_rows_and_unselected_tokens() {
        let batch = LossBatch::new(&[2, 3], &[0.0f64; 3], &[1.0, 2.0])
            .with_entropies(&[0.1, 0.9, 0.5])
            .with_truncated(&[false, true]);
        let mut options = SharedOptions {
            top_entropy_quantile: 0.5,
            ..SharedOptions::default()
        };
        let counts = options.count(&batch);
        assert_eq!(
            (counts.sequences, counts.tokens, counts.entropy_tokens),
            (2.0, 3.0, 2.0)
        );
        assert_eq!(counts.entropy_threshold, Some(0.5));
        options.mask_truncated_completions = true;
        let counts = options.count(&batch);
        assert_eq!(
            (counts.sequences, counts.tokens, counts.entropy_tokens),
            (2.0, 2.0, 1.0)
        );
    }
}
