//! The loop that every loss shares: the rows of a batch, and the tokens of a row.
//!
//! With the weight `w_i` of row `i` ([`Aggregation`]), the surrogate `s_t`, the sampler correction
//! `c_t`, the KL estimate `k_t` and the mean entropy `H` of the selected tokens, the loss is
//!
//! `sum_i w_i sum_t (c_t s_t + beta k_t) - entropy_coef H`
//!
//! Values and derivatives are computed together, and the derivatives written straight into the
//! caller's gradient. Nothing is allocated.

use crate::error::{Error, Result};
use crate::importance_level::ImportanceLevel;
use crate::loss::aggregation::Aggregation;
use crate::loss::surrogate::{Clip, RowView, Surrogate, TokenView};
use crate::loss_batch::LossBatch;
use crate::metrics::{LossMetrics, Values};
use crate::normalization::{Normalization, guarded};
use crate::off_policy_mask;
use crate::policy_loss::LossSummary;
use crate::real::Real;
use crate::sampler_correction::RowCorrection;
use crate::shared_options::{EmptyRows, SharedOptions};

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
    Error::check_length("grad", grad.len(), batch.tokens(), "token")?;
    if let Some(grad) = &entropy_grad {
        Error::check_length("entropy_grad", grad.len(), batch.tokens(), "token")?;
    }
    let counts = batch.normalization.unwrap_or_else(|| options.count(batch));
    let quantile = options.top_entropy_quantile < 1.0;
    let mut evaluation = Evaluation {
        surrogate,
        aggregation,
        options,
        batch,
        counts,
        threshold: counts.entropy_threshold.filter(|_| quantile),
        entropy_slope: -options.entropy_coef / guarded(counts.entropy_tokens),
        selected_entropy: 0.0,
        metrics: LossMetrics {
            kl: options.uses_reference().then_some(0.0),
            entropy: batch.entropies.map(|_| 0.0),
            ..LossMetrics::default()
        },
    };
    for row in 0..batch.rows() {
        let at = batch.row(row);
        let entropy_grad = entropy_grad
            .as_deref_mut()
            .map(|grad| &mut grad[at.clone()]);
        evaluation.row(row, &mut grad[at], entropy_grad);
    }
    let metrics = evaluation.metrics;
    let bonus = evaluation.entropy_slope * evaluation.selected_entropy;
    let loss = metrics.policy_loss + bonus;
    Ok(LossSummary { loss, metrics })
}

/// One evaluation: what its rows share, and what they add up.
struct Evaluation<'a, F, S> {
    surrogate: &'a S,
    aggregation: Aggregation,
    options: &'a SharedOptions,
    batch: &'a LossBatch<'a, F>,
    counts: Normalization,
    /// The entropy at or above which a token is selected; `None`: all are.
    threshold: Option<f64>,
    /// Derivative of the loss with respect to the entropy of a selected token.
    entropy_slope: f64,
    /// Sum of the entropies of the selected tokens.
    selected_entropy: f64,
    metrics: LossMetrics,
}

/// A row with tokens that count.
struct Row<'a, F, R> {
    view: RowView<'a, F>,
    /// What the surrogate computed of it.
    state: R,
    ratio: Ratio<'a, F>,
    /// Whether the off-policy mask keeps its policy term.
    keep: bool,
    /// The reference's log-probabilities, when the KL term is on.
    reference: Option<&'a [F]>,
    /// Entropies, when the batch has them.
    entropies: Option<&'a [F]>,
}

/// The importance ratios of a row.
enum Ratio<'a, F> {
    /// To the current policy itself, detached: 1.
    OnPolicy,
    /// Token by token, to these log-probabilities.
    Tokens(&'a [F]),
    /// One for the sequence: its logarithm and itself.
    Sequence(F, F),
}

impl<F: Real> Ratio<'_, F> {
    /// The log ratio of a token.
    #[inline]
    fn log(&self, token: usize, logp: F) -> F {
        match self {
            Self::OnPolicy => F::ZERO,
            Self::Tokens(old) => logp - old[token],
            Self::Sequence(log, _) => *log,
        }
    }

    /// Writes the ratio of each token.
    fn write(&self, logps: &[F], out: &mut [F]) {
        match self {
            Self::OnPolicy => out.fill(F::ONE),
            Self::Sequence(_, ratio) => out.fill(*ratio),
            Self::Tokens(old) => {
                for ((out, logp), old) in out.iter_mut().zip(logps).zip(*old) {
                    *out = (*logp - *old).exp();
                }
            }
        }
    }
}

/// What the tokens of a row add up to, before weighing.
#[derive(Default)]
struct Sums {
    value: f64,
    /// The derivative with respect to the sequence's log ratio.
    d_log_ratio: f64,
}

impl<'a, F: Real, S: Surrogate<F>> Evaluation<'a, F, S> {
    /// Evaluates a row into its part of the gradients.
    fn row(&mut self, row: usize, grad: &mut [F], mut entropy_grad: Option<&mut [F]>) {
        let (batch, options) = (self.batch, self.options);
        let mut at = batch.row(row);
        if batch.is_dropped(row, options.mask_truncated_completions) {
            at.end = at.start;
        }
        let cut = |field: Option<&'a [F]>| field.map(|values| &values[at.clone()]);
        let logps = &batch.logps[at.clone()];
        let (old_logps, sampler_logps) = (cut(batch.old_logps), cut(batch.sampler_logps));
        let ratios = cut(batch.importance_ratios);
        let correction = match (ratios, options.importance_correction, sampler_logps) {
            (Some(ratios), ..) => RowCorrection::Given(ratios),
            (None, Some(rule), Some(sampler)) => rule.row(old_logps.unwrap_or(logps), sampler),
            _ => RowCorrection::None,
        };
        let view = RowView {
            advantage: batch.advantages[row],
            logps,
            old_logps: old_logps.filter(|_| !S::ON_POLICY),
            correction,
        };
        let state = self.surrogate.row(&view);
        self.metrics.rows += 1;
        if let Some(weight) = self.surrogate.sequence_weight(&state) {
            self.metrics.sequence_weight.add(weight.to_f64());
        }
        if logps.is_empty() {
            grad.fill(F::ZERO);
            entropy_grad.iter_mut().for_each(|grad| grad.fill(F::ZERO));
            self.metrics.empty_rows += 1;
            if options.importance_sampling_level == ImportanceLevel::Sequence {
                self.metrics.add_clips(1, 0, 0);
            }
            if self.aggregation == Aggregation::SequenceMean && options.empty_rows == EmptyRows::Nan
            {
                grad.fill(F::NAN);
                self.metrics.policy_loss = f64::NAN;
            }
            return;
        }
        let keep = options.off_policy_mask_threshold.is_none_or(|threshold| {
            let sampled = sampler_logps.or(old_logps).unwrap_or(logps);
            off_policy_mask::keeps(view.advantage, logps, sampled, threshold)
        });
        self.metrics.off_policy_rows += u64::from(!keep);
        let ratio = match (options.importance_sampling_level, view.old_logps) {
            (ImportanceLevel::Token, None) => Ratio::OnPolicy,
            (ImportanceLevel::Token, Some(old)) => Ratio::Tokens(old),
            (ImportanceLevel::Sequence, _) => {
                let mean = F::from_f64(view.sum_log_ratio(|d| d) / logps.len() as f64);
                Ratio::Sequence(mean, mean.exp())
            }
        };
        let row = Row {
            view,
            state,
            ratio,
            keep,
            reference: cut(batch.ref_logps.filter(|_| options.uses_reference())),
            entropies: cut(batch.entropies),
        };
        self.entropies(&row, entropy_grad);
        self.tokens(&row, grad);
    }

    /// Whether a token of this entropy takes part in the policy term and the entropy bonus.
    #[inline]
    fn selects(&self, entropy: F) -> bool {
        self.threshold
            .is_none_or(|threshold| entropy.to_f64() >= threshold)
    }

    /// The entropies of a row's tokens: their sums and their gradient.
    fn entropies(&mut self, row: &Row<'_, F, S::Row>, grad: Option<&mut [F]>) {
        let entropies = row.entropies.unwrap_or_default();
        let (mut all, mut selected, mut count) = (0.0, 0.0, 0);
        for entropy in entropies {
            all += entropy.to_f64();
            if self.selects(*entropy) {
                selected += entropy.to_f64();
                count += 1;
            }
        }
        self.metrics.entropy = self.metrics.entropy.map(|sum| sum + all);
        self.metrics.selected_tokens += row.entropies.map_or(row.view.tokens() as u64, |_| count);
        self.selected_entropy += selected;
        let Some(grad) = grad else { return };
        grad.fill(F::ZERO);
        let slope = F::from_f64(self.entropy_slope);
        for (grad, entropy) in grad.iter_mut().zip(entropies) {
            *grad = if self.selects(*entropy) {
                slope
            } else {
                F::ZERO
            };
        }
    }

    /// The tokens of a row: policy term, KL term and their gradient.
    fn tokens(&mut self, row: &Row<'_, F, S::Row>, grad: &mut [F]) {
        let tokens = row.view.tokens();
        let policy = self.policy_term(row, grad);
        let kl = self.kl_term(row, grad);
        // The tokens share a sequence's log ratio: each moves it by 1 / tokens.
        let shared = F::from_f64((policy.d_log_ratio + kl.d_log_ratio) / tokens as f64);
        let weight = self.aggregation.weight(tokens, &self.counts);
        for grad in grad {
            *grad = (*grad + shared) * F::from_f64(weight);
        }
        self.metrics.policy_loss += (policy.value + self.options.beta * kl.value) * weight;
        self.metrics.kl = self.metrics.kl.map(|sum| sum + kl.value);
        self.metrics.tokens += tokens as u64;
    }

    /// The policy term; writes its derivatives into `grad`.
    fn policy_term(&mut self, row: &Row<'_, F, S::Row>, grad: &mut [F]) -> Sums {
        let view = &row.view;
        let sequence = matches!(row.ratio, Ratio::Sequence(..));
        let corrected = !matches!(view.correction, RowCorrection::None);
        let (mut sums, mut low, mut high) = (Sums::default(), 0, 0);
        let (mut ratios, mut corrections) = (Values::default(), Values::default());
        // A token's ratio stands in the place of its derivative until that is known.
        row.ratio.write(view.logps, grad);
        for (t, grad) in grad.iter_mut().enumerate() {
            let (logp, ratio) = (view.logps[t], *grad);
            let log_ratio = row.ratio.log(t, logp);
            let token = TokenView {
                logp,
                log_ratio,
                ratio,
            };
            let mut term = self.surrogate.token(&row.state, &token);
            ratios.add(ratio.to_f64());
            low += u64::from(term.clip == Clip::Low);
            high += u64::from(term.clip == Clip::High);
            if corrected {
                let correction = view.correction.ratio(t);
                corrections.add(correction.to_f64());
                if !S::OWNS_CORRECTION {
                    term.loss *= correction;
                    term.d_logp *= correction;
                    term.d_log_ratio *= correction;
                }
            }
            if !row.keep || row.entropies.is_some_and(|e| !self.selects(e[t])) {
                (term.loss, term.d_logp, term.d_log_ratio) = (F::ZERO, F::ZERO, F::ZERO);
            }
            sums.value += term.loss.to_f64();
            if sequence {
                sums.d_log_ratio += term.d_log_ratio.to_f64();
                *grad = term.d_logp;
            } else {
                *grad = term.d_logp + term.d_log_ratio;
            }
        }
        if let Ratio::Sequence(_, ratio) = row.ratio {
            self.metrics.ratio.add(ratio.to_f64());
            self.metrics
                .add_clips(1, u64::from(low > 0), u64::from(high > 0));
        } else {
            self.metrics.ratio.merge(&ratios);
            self.metrics.add_clips(view.tokens() as u64, low, high);
        }
        self.metrics.correction.merge(&corrections);
        sums
    }

    /// The KL term; adds beta times its derivatives to `grad`.
    fn kl_term(&self, row: &Row<'_, F, S::Row>, grad: &mut [F]) -> Sums {
        let (mut sums, beta) = (Sums::default(), self.options.beta);
        let reference = row.reference.unwrap_or_default();
        let tokens = row.view.logps.iter().zip(reference).zip(grad);
        for (t, ((logp, reference), grad)) in tokens.enumerate() {
            let (mut value, mut slope) = self.options.kl.value_and_grad(*logp, *reference);
            if self.options.use_bias_correction_kl {
                // ratio * estimate, where the ratio is differentiated, too.
                let ratio = match row.ratio {
                    Ratio::Sequence(_, ratio) => ratio,
                    _ => row.ratio.log(t, *logp).exp(),
                };
                (value, slope) = (value * ratio, slope * ratio);
                match row.ratio {
                    Ratio::Sequence(..) => sums.d_log_ratio += beta * value.to_f64(),
                    _ => slope += value,
                }
            }
            sums.value += value.to_f64();
            *grad += F::from_f64(beta) * slope;
        }
        sums
    }
}
