//! What the loss reads of a batch.

use visrl_grpo::{LossBatch, Normalization};

use super::batch::{Batch, MicroBatch};
use super::drift::Drift;
use super::groups::LearnGroup;
use super::head::HeadPass;
use crate::error::Error;

/// The numbers of a batch that a policy loss reads, all in the batch's order: one per token or, for
/// advantages and `truncated`, one per row.
pub(crate) struct LossInputs<'a> {
    ends: &'a [usize],
    /// Log-probabilities under the policy: 0 until a micro-batch has run.
    pub(crate) logps: Vec<f32>,
    /// Entropies of the policy: 0 until a micro-batch has run.
    pub(crate) entropies: Vec<f32>,
    /// Log-probabilities under the reference policy.
    pub(crate) ref_logps: Option<Vec<f32>>,
    /// Log-probabilities under the policy before the first update on this batch.
    pub(crate) old_logps: Option<Vec<f32>>,
    sampler_logps: Option<Vec<f32>>,
    advantages: Vec<f32>,
    truncated: Vec<bool>,
    /// The counts of the whole batch, where it is evaluated in pieces.
    pub(crate) normalization: Option<Normalization>,
}

impl<'a> LossInputs<'a> {
    /// What groups bring along. A token without a sampler's log-probability has NaN, where another
    /// group has some.
    ///
    /// # Errors
    /// [`Error::Config`] when a field of a group does not hold one value for each completion or
    /// token.
    pub(crate) fn new(batch: &'a Batch<'_>, groups: &[LearnGroup]) -> Result<Self, Error> {
        let mut sampler = visrl_core::TokenRows::new();
        for group in groups {
            group.validate()?;
            match &group.sampler_logps {
                Some(logps) => sampler.append(logps.clone()),
                None => group
                    .tokens
                    .completions
                    .iter()
                    .for_each(|tokens| sampler.push_row(tokens.iter().map(|_| f32::NAN))),
            }
        }
        let reported = groups.iter().any(|group| group.sampler_logps.is_some());
        let sampler_logps = reported
            .then(|| batch.order_tokens("sampler_logps", &sampler))
            .transpose()?;
        let advantages: Vec<f32> = groups.iter().flat_map(|g| g.advantages.clone()).collect();
        let truncated: Vec<bool> = groups.iter().flat_map(|g| g.truncated.clone()).collect();
        Ok(Self {
            ends: batch.ends(),
            logps: vec![0.0; batch.tokens()],
            entropies: vec![0.0; batch.tokens()],
            ref_logps: None,
            old_logps: None,
            sampler_logps,
            advantages: batch.order_rows(&advantages),
            truncated: batch.order_rows(&truncated),
            normalization: None,
        })
    }

    /// Takes what a micro-batch found.
    pub(crate) fn set(&mut self, part: &MicroBatch<'_>, found: &HeadPass) {
        self.logps[part.tokens.clone()].copy_from_slice(&found.logps);
        self.entropies[part.tokens.clone()].copy_from_slice(&found.entropies);
    }

    /// How far the engine's log-probabilities are from the policy's.
    pub(crate) fn drift(&self) -> Option<Drift> {
        Drift::of(&self.logps, self.sampler_logps.as_deref()?)
    }

    /// Whether no row of a micro-batch has an advantage.
    pub(crate) fn is_even(&self, part: &MicroBatch<'_>) -> bool {
        self.advantages[part.rows.clone()].iter().all(|a| *a == 0.0)
    }

    /// The whole batch, as the loss sees it.
    pub(crate) fn batch(&self) -> LossBatch<'_, f32> {
        let mut batch = LossBatch::new(self.ends, &self.logps, &self.advantages)
            .with_entropies(&self.entropies)
            .with_truncated(&self.truncated);
        batch.ref_logps = self.ref_logps.as_deref();
        batch.old_logps = self.old_logps.as_deref();
        batch.sampler_logps = self.sampler_logps.as_deref();
        batch.normalization = self.normalization;
        batch
    }

    /// A micro-batch, as the loss sees it.
    ///
    /// # Errors
    /// [`Error::Grpo`] when a field does not fit.
    pub(crate) fn micro_batch(&self, part: &MicroBatch<'_>) -> Result<LossBatch<'_, f32>, Error> {
        Ok(self.batch().slice(part.rows.clone())?)
    }
}
