//! The loop that every loss shares: the rows of a batch, and the tokens of a row.
//!
//! With the weight `w_i` of row `i` ([`Aggregation`]), the surrogate `s_t`, the sampler correction
//! `c_t`, the KL estimate `k_t` and the mean entropy `H` of the selected tokens, the loss is
//!
//! `sum_i w_i sum_t (c_t s_t + beta k_t) - entropy_coef H`
//!
//! Derivatives are written straight into the caller's gradient; nothing is allocated.

use crate::error::{Error, Result};
use crate::loss::aggregation::Aggregation;
use crate::loss::surrogate::{Clip, RowView, Surrogate, Term};
use crate::loss_batch::LossBatch;
use crate::metrics::{LossMetrics, Values};
use crate::normalization::{Normalization, guarded};
use crate::off_policy_mask;
use crate::policy_loss::LossSummary;
use crate::real::Real;
use crate::sampler_correction::RowCorrection;
use crate::shared_options::{EmptyRows, ImportanceLevel, SharedOptions};

/// Evaluates a loss; see [`PolicyLoss::evaluate_into`](crate::PolicyLoss::evaluate_into).
pub(crate) fn evaluate<F: Real, S: Surrogate<F>>(
    surrogate: &S,
    aggregation: Aggregation,
    options: &SharedOptions,
    batch: &LossBatch<'_, F>,
    grad: &mut [F],
    mut entropy_grad: Option<&mut [F]>,
) -> Result<LossSummary> {
    surrogate.validate()?;
    options.check(batch)?;
    Error::check_length("grad", grad.len(), batch.tokens())?;
    let len = entropy_grad.as_ref().map_or(batch.tokens(), |grad| grad.len());
    Error::check_length("entropy_grad", len, batch.tokens())?;
    let mut counts = batch.normalization.unwrap_or_else(|| options.count(batch));
    if options.top_entropy_quantile >= 1.0 {
        counts.entropy_threshold = None;
    }
    let evaluation = Evaluation { surrogate, aggregation, options, batch, counts };
    let mut metrics = LossMetrics {
        kl: options.uses_reference().then_some(0.0),
        entropy: batch.entropies.map(|_| 0.0),
        ..LossMetrics::default()
    };
    for row in 0..batch.rows() {
        let at = batch.row(row);
        let entropy_grad = entropy_grad.as_deref_mut().map(|grad| &mut grad[at.clone()]);
        evaluation.row(row, &mut grad[at], entropy_grad, &mut metrics);
    }
    let loss = metrics.policy_loss + evaluation.entropy_slope() * metrics.selected_entropy;
    Ok(LossSummary { loss, metrics })
}

/// What the rows of an evaluation share.
struct Evaluation<'a, F, S> {
    surrogate: &'a S,
    aggregation: Aggregation,
    options: &'a SharedOptions,
    batch: &'a LossBatch<'a, F>,
    counts: Normalization,
}

/// What the tokens of a row share.
struct Row<'a, F, R> {
    view: RowView<'a, F>,
    /// What the surrogate computed of the row.
    state: R,
    /// The ratio of all tokens, at sequence level.
    sequence: Option<F>,
    /// Whether the off-policy mask keeps the policy term.
    keep: bool,
    /// The reference's log-probabilities, when the KL term is on.
    reference: Option<&'a [F]>,
    entropies: Option<&'a [F]>,
}

impl<F: Real, R> Row<'_, F, R> {
    /// The importance ratio of a token.
    fn ratio(&self, token: usize) -> F {
        match (self.sequence, self.view.old_logps) {
            (Some(ratio), _) => ratio,
            (None, Some(old)) => (self.view.logps[token] - old[token]).exp(),
            (None, None) => F::ONE,
        }
    }
}

impl<'a, F: Real, S: Surrogate<F>> Evaluation<'a, F, S> {
    /// Evaluates a row into its part of the gradients.
    fn row(
        &self,
        row: usize,
        grad: &mut [F],
        mut entropy_grad: Option<&mut [F]>,
        metrics: &mut LossMetrics,
    ) {
        let (batch, options) = (self.batch, self.options);
        let mut at = batch.row(row);
        if batch.is_dropped(row, options.mask_truncated_completions) {
            at.end = at.start;
        }
        let cut = |field: Option<&'a [F]>| field.map(|values| &values[at.clone()]);
        let logps = &batch.logps[at.clone()];
        let (old_logps, sampler_logps) = (cut(batch.old_logps), cut(batch.sampler_logps));
        let correction = match (options.importance_correction, sampler_logps) {
            (Some(rule), Some(sampler)) => rule.row(old_logps.unwrap_or(logps), sampler),
            _ => RowCorrection::None,
        };
        let view = RowView {
            advantage: batch.advantages[row],
            logps,
            old_logps: old_logps.filter(|_| !S::ON_POLICY),
            correction,
        };
        let state = self.surrogate.row(&view);
        let weight = self.surrogate.sequence_weight(&state);
        weight.into_iter().for_each(|weight| metrics.sequence_weight.add(weight.to_f64()));
        metrics.rows += 1;
        let by_sequence = options.importance_sampling_level == ImportanceLevel::Sequence;
        if logps.is_empty() {
            grad.fill(F::ZERO);
            entropy_grad.iter_mut().for_each(|grad| grad.fill(F::ZERO));
            metrics.empty_rows += 1;
            metrics.add_clips(u64::from(by_sequence), 0, 0);
            let mean = self.aggregation == Aggregation::SequenceMean;
            if mean && options.empty_rows == EmptyRows::Nan {
                grad.fill(F::NAN);
                metrics.policy_loss = f64::NAN;
            }
            return;
        }
        let keep = options.off_policy_mask_threshold.is_none_or(|threshold| {
            let sampled = sampler_logps.or(old_logps).unwrap_or(logps);
            off_policy_mask::keeps(view.advantage, logps, sampled, threshold)
        });
        metrics.off_policy_rows += u64::from(!keep);
        let row = Row {
            state,
            keep,
            sequence: by_sequence
                .then(|| F::from_f64(view.sum_log_ratio(|d| d) / logps.len() as f64).exp()),
            reference: cut(batch.ref_logps.filter(|_| options.uses_reference())),
            entropies: cut(batch.entropies),
            view,
        };
        self.entropies(&row, entropy_grad, metrics);
        self.tokens(&row, grad, metrics);
    }

    /// Whether a token of this entropy takes part in the policy term and the entropy bonus.
    fn selects(&self, entropy: F) -> bool {
        let threshold = self.counts.entropy_threshold;
        threshold.is_none_or(|threshold| entropy.to_f64() >= threshold)
    }

    /// Derivative of the loss with respect to the entropy of a selected token.
    fn entropy_slope(&self) -> f64 {
        -self.options.entropy_coef / guarded(self.counts.entropy_tokens)
    }

    /// The entropies of a row's tokens: their sums and their gradient.
    fn entropies(
        &self,
        row: &Row<'_, F, S::Row>,
        grad: Option<&mut [F]>,
        metrics: &mut LossMetrics,
    ) {
        let slope = F::from_f64(self.entropy_slope());
        let mut grad = grad.into_iter().flatten();
        let Some(entropies) = row.entropies else {
            grad.for_each(|grad| *grad = F::ZERO);
            metrics.selected_tokens += row.view.logps.len() as u64;
            return;
        };
        let mut sum = 0.0;
        for entropy in entropies {
            let selected = self.selects(*entropy);
            sum += entropy.to_f64();
            if selected {
                metrics.selected_entropy += entropy.to_f64();
                metrics.selected_tokens += 1;
            }
            if let Some(grad) = grad.next() {
                *grad = if selected { slope } else { F::ZERO };
            }
        }
        metrics.entropy = metrics.entropy.map(|entropy| entropy + sum);
    }

    /// The tokens of a row: policy term, KL term and their gradient.
    fn tokens(&self, row: &Row<'_, F, S::Row>, grad: &mut [F], metrics: &mut LossMetrics) {
        let tokens = row.view.logps.len();
        let (policy, policy_slope) = self.policy_term(row, grad, metrics);
        let (kl, kl_slope) = self.kl_term(row, grad);
        // Tokens share a sequence's log ratio: each moves it by 1 / tokens.
        let shared = F::from_f64((policy_slope + kl_slope) / tokens as f64);
        let weight = self.aggregation.weight(tokens, &self.counts);
        for grad in grad {
            *grad = (*grad + shared) * F::from_f64(weight);
        }
        metrics.policy_loss += (policy + self.options.beta * kl) * weight;
        metrics.kl = metrics.kl.map(|sum| sum + kl);
        metrics.tokens += tokens as u64;
    }

    /// The sums of the policy term and of its derivative with respect to the sequence's log ratio;
    /// the other derivatives are written into `grad`.
    fn policy_term(
        &self,
        row: &Row<'_, F, S::Row>,
        grad: &mut [F],
        metrics: &mut LossMetrics,
    ) -> (f64, f64) {
        let view = &row.view;
        let corrected = !matches!(view.correction, RowCorrection::None);
        let (mut sum, mut slope, mut low, mut high) = (0.0, 0.0, 0, 0);
        let (mut ratios, mut corrections) = (Values::default(), Values::default());
        // A token's ratio stands in the place of its derivative until that is known.
        grad.iter_mut().enumerate().for_each(|(t, grad)| *grad = row.ratio(t));
        for (t, grad) in grad.iter_mut().enumerate() {
            ratios.add(grad.to_f64());
            let mut term = self.surrogate.token(&row.state, view.logps[t], *grad);
            low += u64::from(term.clip == Clip::Low);
            high += u64::from(term.clip == Clip::High);
            if corrected {
                let c = view.correction.ratio(t);
                corrections.add(c.to_f64());
                if !S::OWNS_CORRECTION {
                    term.loss = c * term.loss;
                    (term.d_logp, term.d_log_ratio) = (c * term.d_logp, c * term.d_log_ratio);
                }
            }
            if !row.keep || row.entropies.is_some_and(|e| !self.selects(e[t])) {
                term = Term::of_logp(F::ZERO, F::ZERO);
            }
            sum += term.loss.to_f64();
            if row.sequence.is_some() {
                slope += term.d_log_ratio.to_f64();
                *grad = term.d_logp;
            } else {
                *grad = term.d_logp + term.d_log_ratio;
            }
        }
        metrics.correction.merge(&corrections);
        if let Some(ratio) = row.sequence {
            metrics.ratio.add(ratio.to_f64());
            metrics.add_clips(1, u64::from(low > 0), u64::from(high > 0));
        } else {
            metrics.ratio.merge(&ratios);
            metrics.add_clips(view.logps.len() as u64, low, high);
        }
        (sum, slope)
    }

    /// The sums of the KL estimates and of beta times their derivatives with respect to the
    /// sequence's log ratio; beta times the other derivatives is added to `grad`.
    fn kl_term(&self, row: &Row<'_, F, S::Row>, grad: &mut [F]) -> (f64, f64) {
        let (options, beta) = (self.options, F::from_f64(self.options.beta));
        let (mut sum, mut sequence_slope) = (0.0, 0.0);
        let tokens = row.reference.unwrap_or_default().iter().zip(row.view.logps).zip(grad);
        for (t, ((reference, logp), grad)) in tokens.enumerate() {
            let (mut value, mut slope) = options.kl.value_and_grad(*logp, *reference);
            if options.use_bias_correction_kl {
                // ratio * estimate, where the ratio is differentiated, too.
                let ratio = row.ratio(t);
                (value, slope) = (value * ratio, slope * ratio);
                match row.sequence {
                    Some(_) => sequence_slope += options.beta * value.to_f64(),
                    None => slope += value,
                }
            }
            sum += value.to_f64();
            *grad += beta * slope;
        }
        (sum, sequence_slope)
    }
}
