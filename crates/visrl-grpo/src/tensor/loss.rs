//! Losses as tensor operations, for autodiff.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Bool, Tensor};

use super::batch::TensorBatch;
use super::evaluate::normalization;
use crate::error::Result;
use crate::grpo_loss::GrpoLoss;
use crate::importance::{CorrectionMode, ImportanceCorrection, ImportanceLevel};
use crate::kl::Kl;
use crate::loss::{Aggregation, Clipped, Loss, Sapo, Vespo};
use crate::normalization::{Normalization, guarded};
use crate::terms::{EmptyRows, Present, Terms};

/// The KL estimate of each token, of the shape of the log-probabilities; equations in
/// [`KlEstimator`](crate::KlEstimator)'s module: k1 `-d`, k2 `d^2 / 2`, k3 `exp(d) - d - 1` with
/// `d = ref_logp - logp`.
pub fn kl<const D: usize>(kl: Kl, logps: Tensor<D>, ref_logps: Tensor<D>) -> Tensor<D> {
    match kl {
        Kl::K1 => logps - ref_logps,
        Kl::K2 => (logps - ref_logps).square() * 0.5,
        Kl::K3 => {
            let d = ref_logps - logps;
            d.clone().exp() - d - 1.0
        }
    }
}

/// The loss of a batch as a scalar, `[1]`, that autodiff can differentiate with respect to `logps`,
/// and `entropies` where there is an entropy bonus: the equations of [`Loss`] and [`Terms`] in
/// tensor operations.
///
/// Value and gradient are those of the kernel for slices, with one exception: under
/// [`EmptyRows::Nan`] the loss is NaN, but a row without a counted token keeps a gradient of zero.
///
/// # Errors
/// As [`PolicyLoss::evaluate_into`](crate::PolicyLoss::evaluate_into).
pub fn loss(loss: &GrpoLoss, batch: &TensorBatch) -> Result<Tensor<1>> {
    loss.validate()?;
    batch.validate()?;
    let terms = &loss.terms;
    terms.check_present(&Present {
        reference: batch.ref_logps.is_some(),
        entropies: batch.entropies.is_some(),
        sampler: batch.sampler_logps.is_some() || batch.importance_ratios.is_some(),
        truncated: batch.truncated.is_some(),
    })?;
    let counts = match batch.normalization {
        Some(counts) => counts,
        None => normalization(loss, batch)?,
    };
    let view = View::new(loss, batch);
    let selected = view.selected(terms, &counts);
    let off = view.kept(terms).bool_and(selected.clone()).bool_not();
    let mut tokens = view.policy_term(&loss.loss);
    if let (false, Some(ratios)) = (matches!(loss.loss, Loss::Vespo(_)), &view.corrections) {
        tokens = tokens * ratios.clone();
    }
    tokens = tokens.mask_fill(off, 0.0);
    if let (true, Some(reference)) = (terms.uses_reference(), &batch.ref_logps) {
        let mut estimate = kl(terms.kl, view.logps.clone(), view.constant(reference));
        if terms.use_bias_correction_kl {
            estimate = estimate * view.ratio.clone();
        }
        tokens = tokens + estimate * terms.beta;
    }
    let weights = view.weights(loss.aggregation(), &counts, terms.empty_rows);
    let mut value = (tokens * weights).sum();
    if let (true, Some(entropies)) = (terms.entropy_coef != 0.0, &batch.entropies) {
        let bonus = entropies.clone().mask_fill(selected.bool_not(), 0.0).sum();
        value = value - bonus * (terms.entropy_coef / guarded(counts.entropy_tokens));
    }
    Ok(value)
}

/// A batch with everything that does not count set to zero.
struct View<'a> {
    batch: &'a TensorBatch,
    /// Which tokens count, `[rows, len]`.
    counted: Tensor<2, Bool>,
    off: Tensor<2, Bool>,
    /// Counted tokens of each row, `[rows, 1]`.
    lengths: Tensor<2>,
    advantages: Tensor<2>,
    /// Tracked where the batch's are.
    logps: Tensor<2>,
    /// The policy that sampled, constant.
    sampled_by: Tensor<2>,
    /// Of tokens, also at sequence level.
    log_ratios: Tensor<2>,
    /// Of tokens, or the row's at sequence level.
    ratio: Tensor<2>,
    /// Ratios that correct for a foreign sampler.
    corrections: Option<Tensor<2>>,
}

impl<'a> View<'a> {
    fn new(loss: &GrpoLoss, batch: &'a TensorBatch) -> Self {
        let shape @ [rows, _] = batch.logps.dims();
        let dtype = batch.logps.dtype();
        let counted = match &batch.truncated {
            Some(cut) if loss.terms.mask_truncated_completions => {
                let whole = cut.clone().bool_not().reshape([rows, 1]).expand(shape);
                batch.mask.clone().bool_and(whole)
            }
            _ => batch.mask.clone(),
        };
        let off = counted.clone().bool_not();
        let lengths = counted.clone().float().cast(dtype).sum_dim(1);
        let logps = batch.logps.clone().mask_fill(off.clone(), 0.0);
        let current = logps.clone().without_autodiff();
        let sampled_by = match &batch.old_logps {
            Some(old) => old.clone().without_autodiff().mask_fill(off.clone(), 0.0),
            None => current.clone(),
        };
        let old = match &loss.loss {
            Loss::PaperClsRl(_) => current,
            _ => sampled_by.clone(),
        };
        let log_ratios = logps.clone() - old;
        let ratio = match loss.terms.importance_sampling_level {
            ImportanceLevel::Token => log_ratios.clone().exp(),
            ImportanceLevel::Sequence => {
                let mean = log_ratios.clone().sum_dim(1) / lengths.clone().clamp_min(1.0);
                mean.exp().expand(shape)
            }
        };
        let constant = |field: &Tensor<2>| {
            let field = field.clone().without_autodiff();
            field.mask_fill(off.clone(), 0.0)
        };
        let corrections = match (
            &batch.importance_ratios,
            loss.terms.importance_correction,
            &batch.sampler_logps,
        ) {
            (Some(ratios), ..) => Some(constant(ratios)),
            (None, Some(correction), Some(sampler)) => Some(corrections(
                &correction,
                sampled_by.clone(),
                constant(sampler),
            )),
            _ => None,
        };
        Self {
            batch,
            counted,
            off,
            lengths,
            advantages: batch
                .advantages
                .clone()
                .without_autodiff()
                .reshape([rows, 1]),
            logps,
            sampled_by,
            log_ratios,
            ratio,
            corrections,
        }
    }

    fn constant(&self, field: &Tensor<2>) -> Tensor<2> {
        let field = field.clone().without_autodiff();
        field.mask_fill(self.off.clone(), 0.0)
    }

    /// What each token is worth, before masks and corrections.
    fn policy_term(&self, loss: &Loss) -> Tensor<2> {
        match loss {
            Loss::PaperClsRl(_) => -(self.ratio.clone() * self.advantages.clone()),
            Loss::Grpo(clip) | Loss::Bnpo(clip) | Loss::Dapo(clip) | Loss::Luspo(clip) => {
                self.clipped(clip)
            }
            Loss::DrGrpo(loss) => self.clipped(&loss.clip),
            Loss::Cispo(loss) => {
                let weight = self.ratio.clone().without_autodiff();
                let weight = weight.clamp_max(loss.epsilon_high) * self.advantages.clone();
                -(self.logps.clone() * weight)
            }
            Loss::Sapo(loss) => self.gated(loss),
            Loss::Vespo(loss) => -(self.logps.clone() * self.phi(loss) * self.advantages.clone()),
        }
    }

    /// [`Clipped`].
    fn clipped(&self, clip: &Clipped) -> Tensor<2> {
        let first = match clip.delta {
            Some(delta) => self.ratio.clone().clamp_max(delta),
            None => self.ratio.clone(),
        };
        let high = 1.0 + clip.epsilon_high.unwrap_or(clip.epsilon);
        let second = self.ratio.clone().clamp(1.0 - clip.epsilon, high);
        let [first, second] = [first, second].map(|ratio| ratio * self.advantages.clone());
        -first.min_pair(second)
    }

    /// [`Sapo`].
    fn gated(&self, loss: &Sapo) -> Tensor<2> {
        let positive = self.advantages.clone().greater_elem(0.0);
        let tau = self.advantages.full_like(loss.temperature_neg);
        let tau = tau.mask_fill(positive, loss.temperature_pos);
        let gate = sigmoid((self.ratio.clone() - 1.0) * tau.clone());
        -(gate * (self.advantages.clone() * 4.0 / tau))
    }

    /// The detached weight of each row in [`Vespo`], `[rows, 1]`.
    fn phi(&self, loss: &Vespo) -> Tensor<2> {
        let lower = 1e-8f64.ln();
        let log_ratios = self.log_ratios.clone().without_autodiff();
        let mut log_w = log_ratios.clamp(-20.0, 20.0).sum_dim(1);
        if let Some(ratios) = &self.corrections {
            let logs = ratios.clone().log().clamp(lower, 20.0);
            log_w = log_w + logs.mask_fill(self.off.clone(), 0.0).sum_dim(1);
        }
        let log_w = log_w.clamp(lower, 20.0);
        let positive = self.advantages.clone().greater_equal_elem(0.0);
        let choose = |pos: f64, neg: f64| {
            let all = self.advantages.full_like(neg);
            all.mask_fill(positive.clone(), pos)
        };
        let k = choose(loss.k_pos, loss.k_neg);
        let lambda = choose(loss.lambda_pos.max(1e-4), loss.lambda_neg.max(1e-4));
        let phi = (lambda.clone() + k * log_w.clone() - lambda * log_w.exp()).exp();
        let wild = phi.clone().is_finite().bool_not();
        phi.mask_fill(wild, 0.0)
    }
}

impl View<'_> {
    /// The tokens that the entropy quantile selects: all counted ones without one.
    fn selected(&self, terms: &Terms, counts: &Normalization) -> Tensor<2, Bool> {
        let threshold = counts
            .entropy_threshold
            .filter(|_| terms.top_entropy_quantile < 1.0);
        match (threshold, &self.batch.entropies) {
            (Some(threshold), Some(entropies)) => {
                let high = entropies.clone().without_autodiff();
                self.counted
                    .clone()
                    .bool_and(high.greater_equal_elem(threshold))
            }
            _ => self.counted.clone(),
        }
    }

    /// The tokens whose rows the off-policy mask leaves in, `[rows, len]`.
    fn kept(&self, terms: &Terms) -> Tensor<2, Bool> {
        let shape = self.logps.dims();
        let good = self.advantages.clone().greater_equal_elem(0.0);
        match terms.off_policy_mask_threshold {
            None => self.counted.clone(),
            Some(threshold) => {
                let sampled = match &self.batch.sampler_logps {
                    Some(sampler) => self.constant(sampler),
                    None => self.sampled_by.clone(),
                };
                let d = sampled - self.logps.clone().without_autodiff();
                let unknown = d.clone().is_nan();
                let sum = d.mask_fill(unknown, 0.0).sum_dim(1);
                let mean = sum / self.lengths.clone().clamp_min(1.0);
                good.bool_or(mean.lower_equal_elem(threshold)).expand(shape)
            }
        }
    }

    /// What each token's term is multiplied with, `[rows, 1]`; see [`Aggregation::weight`].
    fn weights(&self, how: Aggregation, counts: &Normalization, empty: EmptyRows) -> Tensor<2> {
        let lengths = match (how, empty) {
            (Aggregation::SequenceMean, EmptyRows::Nan) => self.lengths.clone(),
            (Aggregation::SequenceMean, EmptyRows::Zero) => self.lengths.clone().clamp_min(1.0),
            _ => self.lengths.ones_like(),
        };
        // The weight of a token in a row of one.
        lengths.recip() * how.weight(1, counts)
    }
}

/// The ratios `p_old / p_sampler`, truncated or masked; see [`ImportanceCorrection`].
fn corrections(correction: &ImportanceCorrection, old: Tensor<2>, sampler: Tensor<2>) -> Tensor<2> {
    let shape = old.dims();
    let d = old - sampler;
    let unknown = d.clone().is_nan();
    let d = d.mask_fill(unknown, 0.0);
    let ratio = match correction.mode {
        CorrectionMode::TokenTruncate | CorrectionMode::TokenMask => d.exp(),
        CorrectionMode::SequenceTruncate | CorrectionMode::SequenceMask => {
            d.sum_dim(1).exp().expand(shape)
        }
    };
    let (min, max) = (correction.clip_min, correction.clip_max);
    match correction.mode {
        CorrectionMode::TokenTruncate | CorrectionMode::SequenceTruncate => {
            let ratio = min.map_or(ratio.clone(), |min| ratio.clamp_min(min));
            max.map_or(ratio.clone(), |max| ratio.clamp_max(max))
        }
        CorrectionMode::TokenMask | CorrectionMode::SequenceMask => {
            let low = ratio.clone().lower_elem(min.unwrap_or(0.0));
            let high = ratio.clone().greater_elem(max.unwrap_or(f64::INFINITY));
            ratio.mask_fill(low.bool_or(high), 0.0)
        }
    }
}
