//! The parts of a loss that are the same for every family.

use serde::{Deserialize, Serialize};

use crate::beta_schedule::BetaSchedule;
use crate::error::{Error, Result};
use crate::kl::KlEstimator;
use crate::loss_batch::LossBatch;
use crate::normalization::Normalization;
use crate::quantile::quantile;
use crate::real::Real;
use crate::sampler_correction::ImportanceCorrection;

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

/// What a row without a token contributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EmptyRows {
    /// Loss 0 and gradient 0, but the row is counted. The default.
    #[default]
    Zero,
    /// `0 / 0`: the loss is NaN. For comparisons with code without a guard, never for training.
    Nan,
}

/// The options that every loss family shares. The default is the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedOptions {
    /// Weight of the KL term that ties the policy to the reference; 0 turns it off (and the
    /// reference is not needed). Default 0.04.
    pub beta: f64,
    /// How beta changes over the run: [`set_step`](crate::PolicyLoss::set_step) sets `beta` to the
    /// schedule's value. Default none: beta stays what it is.
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
    /// Corrects by the log-probabilities that the sampler reported. Default none.
    pub importance_correction: Option<ImportanceCorrection>,
    /// Leaves out completions that were cut at the length limit (DAPO's overlong filtering, arXiv
    /// 2503.14476). Default false.
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
        let check = Error::check;
        let (beta, coef, share) = (self.beta, self.entropy_coef, self.top_entropy_quantile);
        check(beta.is_finite() && beta >= 0.0, "beta", beta, "zero or more")?;
        self.beta_schedule.map_or(Ok(()), |s| s.validate_beta())?;
        let allowed = "above 0 and at most 1";
        check(share > 0.0 && share <= 1.0, "top_entropy_quantile", share, allowed)?;
        check(coef.is_finite() && coef >= 0.0, "entropy_coef", coef, "zero or more")?;
        let threshold = self.off_policy_mask_threshold.unwrap_or(0.0);
        let good = threshold >= 0.0 && threshold.is_finite();
        check(good, "off_policy_mask_threshold", threshold, "zero or more, or left out")?;
        self.importance_correction.map_or(Ok(()), |c| c.validate())
    }

    /// Checks the options, the batch's lengths, and that the batch carries what they need.
    pub(crate) fn check<F: Real>(&self, batch: &LossBatch<'_, F>) -> Result<()> {
        self.check_counted(batch)?;
        need(self.uses_reference(), batch.ref_logps, "ref_logps", "beta")?;
        need(self.entropy_coef != 0.0, batch.entropies, "entropies", "entropy_coef")?;
        let correct = self.importance_correction.is_some();
        need(correct, batch.sampler_logps, "sampler_logps", "importance_correction")
    }

    /// As [`check`](Self::check), but only for what [`count`](Self::count) needs.
    fn check_counted<F: Real>(&self, batch: &LossBatch<'_, F>) -> Result<()> {
        self.validate()?;
        batch.validate()?;
        let quantile = self.top_entropy_quantile < 1.0;
        need(quantile, batch.entropies, "entropies", "top_entropy_quantile")?;
        let cut = self.mask_truncated_completions;
        need(cut, batch.truncated, "truncated", "mask_truncated_completions")
    }

    /// Whether the KL term is on, now or at a later step of beta's schedule.
    pub fn needs_reference(&self) -> bool {
        self.uses_reference() || self.beta_schedule.is_some_and(|schedule| !schedule.is_zero())
    }

    /// Whether the KL term is on now.
    pub(crate) fn uses_reference(&self) -> bool {
        self.beta != 0.0
    }

    /// Sets beta to its schedule's value.
    pub(crate) fn set_step(&mut self, step: u64) {
        self.beta = self.beta_schedule.map_or(self.beta, |schedule| schedule.at(step));
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
        let mut counts = Normalization::new(batch.rows(), rows().map(|at| at.len()).sum());
        if let (true, Some(entropies)) = (self.top_entropy_quantile < 1.0, batch.entropies) {
            let mut counted: Vec<F> = rows().flat_map(|at| &entropies[at]).copied().collect();
            counts.entropy_threshold = quantile(&mut counted, 1.0 - self.top_entropy_quantile);
            if let Some(threshold) = counts.entropy_threshold {
                let selected = counted.iter().filter(|e| e.to_f64() >= threshold).count();
                counts.entropy_tokens = selected as f64;
            }
        }
        counts
    }
}

/// Checks that a field is there if it is `needed_by` an option that is `on`.
fn need<T>(on: bool, value: Option<T>, field: &'static str, needed_by: &'static str) -> Result<()> {
    let error = Error::Missing(field, needed_by);
    if on && value.is_none() { Err(error) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_or_wrong_is_named() {
        let batch = LossBatch::new(&[1], &[0.0f32], &[1.0]);
        for (text, field) in [
            (r#"{"beta": 0.04}"#, "ref_logps"),
            (r#"{"beta": 0, "entropy_coef": 0.1}"#, "entropies"),
            (r#"{"beta": 0, "top_entropy_quantile": 0.2}"#, "entropies"),
            (r#"{"beta": 0, "mask_truncated_completions": true}"#, "truncated"),
            (r#"{"beta": 0, "importance_correction": {}}"#, "sampler_logps"),
            (r#"{"beta": -1}"#, "beta"),
            (r#"{"top_entropy_quantile": 0}"#, "top_entropy_quantile"),
            (r#"{"entropy_coef": -1}"#, "entropy_coef"),
            (r#"{"off_policy_mask_threshold": -0.1}"#, "off_policy_mask_threshold"),
            (r#"{"beta_schedule": {"type": "constant", "value": -1}}"#, "beta_schedule"),
        ] {
            let options: SharedOptions = serde_json::from_str(text).unwrap();
            let error = options.check(&batch).unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{field}`")), "{error}");
        }
        assert!(serde_json::from_str::<SharedOptions>(r#"{"betta": 0.1}"#).is_err());
    }

    #[test]
    fn counts_leave_out_cut_rows_and_unselected_tokens() {
        let batch = LossBatch::new(&[2, 3], &[0.0f64; 3], &[1.0, 2.0])
            .with_entropies(&[0.1, 0.9, 0.5])
            .with_truncated(&[false, true]);
        let mut options = SharedOptions { top_entropy_quantile: 0.5, ..Default::default() };
        let mut count = |cut: bool| {
            options.mask_truncated_completions = cut;
            let counts = options.count(&batch);
            (counts.sequences, counts.tokens, counts.entropy_tokens)
        };
        assert_eq!((count(false), count(true)), ((2.0, 3.0, 2.0), (2.0, 2.0, 1.0)));
    }
}
