//! The loop that every loss shares: one pass over the tokens of each row.
//!
//! Row by row: count the mask, look at the row once (sequence ratio, corrections, off-policy
//! mask), then for every token value and derivative at once, written straight into the caller's
//! gradient. Tokens are taken in small blocks, in stages without branches that become vector code.
//! Sequence-level ratios add one pass over the row's gradient, while it is in cache. The only
//! allocation is one row of scratch, and only for an importance correction.

use std::ops::Range;

use crate::batch::TokenBatch;
use crate::error::{Error, Result};
use crate::importance::ImportanceLevel;
use crate::lanes::{BLOCK, Lanes, RangeLanes, count, gather, vectorized};
use crate::loss::{Aggregation, Clip, RowView, Surrogate, TokenView};
use crate::metrics::LossMetrics;
use crate::normalization::{Normalization, guarded};
use crate::off_policy;
use crate::policy_loss::LossSummary;
use crate::real::Real;
use crate::terms::{EmptyRows, Terms};

/// Evaluates a loss; see [`PolicyLoss::evaluate_into`](crate::PolicyLoss::evaluate_into).
pub(crate) fn evaluate<F: Real, S: Surrogate<F>>(
    surrogate: &S,
    aggregation: Aggregation,
    terms: &Terms,
    batch: &TokenBatch<'_, F>,
    grad: &mut [F],
    mut entropy_grad: Option<&mut [F]>,
) -> Result<LossSummary> {
    surrogate.validate()?;
    terms.check(batch)?;
    Error::check_shape("grad", grad.len(), batch.rows(), batch.len)?;
    if let Some(entropy_grad) = &entropy_grad {
        Error::check_shape("entropy_grad", entropy_grad.len(), batch.rows(), batch.len)?;
    }
    let counts = batch.normalization.unwrap_or_else(|| terms.count(batch));
    let mut pass = Pass {
        surrogate,
        terms,
        batch,
        counts,
        aggregation,
        metrics: LossMetrics {
            kl: terms.uses_reference().then_some(0.0),
            entropy: batch.entropies.map(|_| 0.0),
            ..LossMetrics::default()
        },
        bonus: 0.0,
        scratch: Vec::new(),
    };
    for row in 0..batch.rows() {
        let at = batch.row(row);
        let entropy_grad = entropy_grad.as_deref_mut().map(|g| &mut g[at.clone()]);
        pass.row(row, &mut grad[at], entropy_grad);
    }
    let bonus = terms.entropy_coef * pass.bonus / guarded(counts.entropy_tokens);
    Ok(LossSummary {
        loss: pass.metrics.policy_loss - bonus,
        metrics: pass.metrics,
    })
}

/// What the rows of one evaluation share.
struct Pass<'a, F, S> {
    surrogate: &'a S,
    terms: &'a Terms,
    batch: &'a TokenBatch<'a, F>,
    counts: Normalization,
    aggregation: Aggregation,
    metrics: LossMetrics,
    /// Sum of the selected tokens' entropies.
    bonus: f64,
    /// One row of importance ratios.
    scratch: Vec<F>,
}

impl<F: Real, S: Surrogate<F>> Pass<'_, F, S> {
    /// Evaluates one row into its part of the gradients.
    fn row(&mut self, row: usize, grad: &mut [F], entropy_grad: Option<&mut [F]>) {
        let (batch, terms) = (self.batch, self.terms);
        let at = batch.row(row);
        let mask = &batch.mask[at.clone()];
        let dropped = batch.is_dropped(row, terms.mask_truncated_completions);
        let tokens = if dropped { 0 } else { count(mask) };
        let logps = &batch.logps[at.clone()];
        let sampled_by = batch.old_logps.map(|old| &old[at.clone()]);
        let corrected = self.correct(row, sampled_by.unwrap_or(logps), mask);
        let scratch = std::mem::take(&mut self.scratch);
        let importance_ratios = match (batch.importance_ratios, corrected) {
            (Some(ratios), _) => Some(&ratios[at.clone()]),
            (None, true) => Some(scratch.as_slice()),
            (None, false) => None,
        };
        let view = RowView {
            advantage: batch.advantages[row],
            tokens,
            logps,
            old_logps: if S::ON_POLICY { None } else { sampled_by },
            mask,
            importance_ratios,
        };
        let state = self.surrogate.row(&view);
        self.metrics.rows += 1;
        if let Some(weight) = self.surrogate.sequence_weight(&state) {
            let sum = self.metrics.sequence_weight.unwrap_or(0.0);
            self.metrics.sequence_weight = Some(sum + weight.to_f64());
        }
        if tokens == 0 {
            self.empty_row(grad, entropy_grad);
        } else {
            let keep = terms.off_policy_mask_threshold.is_none_or(|threshold| {
                let sampler = batch.sampler_logps.map(|s| &s[at.clone()]);
                let sampled = sampler.or(sampled_by).unwrap_or(logps);
                off_policy::keeps(view.advantage, logps, sampled, mask, tokens, threshold)
            });
            self.metrics.off_policy_rows += u64::from(!keep);
            let fields = Fields {
                keep,
                reference: batch
                    .ref_logps
                    .filter(|_| terms.uses_reference())
                    .map(|r| &r[at.clone()]),
                entropies: batch.entropies.map(|e| &e[at]),
            };
            vectorized(
                #[inline(always)]
                || self.tokens(&view, &state, &fields, grad, entropy_grad),
            );
        }
        self.scratch = scratch;
    }

    /// Fills the scratch row with importance ratios, where the loss has to compute them.
    fn correct(&mut self, row: usize, old: &[F], mask: &[bool]) -> bool {
        let (Some(correction), Some(sampler), None) = (
            self.terms.importance_correction,
            self.batch.sampler_logps,
            self.batch.importance_ratios,
        ) else {
            return false;
        };
        self.scratch.resize(self.batch.len, F::ONE);
        correction.row_into(old, &sampler[self.batch.row(row)], mask, &mut self.scratch);
        true
    }

    /// A row without counted tokens.
    fn empty_row(&mut self, grad: &mut [F], entropy_grad: Option<&mut [F]>) {
        let unguarded = self.terms.empty_rows == EmptyRows::Nan
            && self.aggregation == Aggregation::SequenceMean;
        grad.fill(if unguarded { F::NAN } else { F::ZERO });
        if unguarded {
            self.metrics.policy_loss = f64::NAN;
        }
        if let Some(entropy_grad) = entropy_grad {
            entropy_grad.fill(F::ZERO);
        }
        self.metrics.empty_rows += 1;
        self.metrics
            .add_clips(self.terms.importance_sampling_level, 0, 0, 0);
    }

    /// A row with counted tokens.
    #[inline(always)]
    fn tokens(
        &mut self,
        view: &RowView<'_, F>,
        state: &S::Row,
        fields: &Fields<'_, F>,
        grad: &mut [F],
        mut entropy_grad: Option<&mut [F]>,
    ) {
        let terms = self.terms;
        let weight = self.aggregation.weight(view.tokens, &self.counts);
        let level = terms.importance_sampling_level;
        let shared = (level == ImportanceLevel::Sequence).then(|| {
            let mean = F::from_f64(view.sum_log_ratio(|d| d) / view.tokens as f64);
            (mean, mean.exp())
        });
        let row = Row {
            state,
            keep: fields.keep,
            shared,
            weight: F::from_f64(weight),
            beta: F::from_f64(terms.beta),
            threshold: self
                .counts
                .entropy_threshold
                .filter(|_| terms.top_entropy_quantile < 1.0),
            bonus_grad: F::from_f64(-terms.entropy_coef / guarded(self.counts.entropy_tokens)),
        };
        let mut sums = Sums::default();
        let mut start = 0;
        for grad in grad.chunks_mut(BLOCK) {
            let at = start..start + grad.len();
            start = at.end;
            let entropy_grad = entropy_grad.as_deref_mut().map(|g| &mut g[at.clone()]);
            let counted = count(&view.mask[at.clone()]);
            if counted == BLOCK {
                let block = Block::cut(view, fields, at);
                self.block::<true>(&row, &block, grad, entropy_grad, &mut sums);
            } else if counted > 0 {
                let block = Block::cut(view, fields, at);
                self.block::<false>(&row, &block, grad, entropy_grad, &mut sums);
            } else {
                grad.fill(F::ZERO);
                if let Some(entropy_grad) = entropy_grad {
                    entropy_grad.fill(F::ZERO);
                }
            }
        }
        if shared.is_some() {
            let share = F::from_f64(sums.through_ratio.sum() * weight / view.tokens as f64);
            for (grad, counted) in grad.iter_mut().zip(view.mask) {
                if *counted {
                    *grad += share;
                }
            }
        }
        self.finish(&sums, view.tokens as u64, weight);
        match (shared, view.old_logps) {
            (Some((_, ratio)), _) => self.metrics.add_ratios(1, ratio.to_f64(), ratio, ratio),
            (None, None) => {
                let tokens = view.tokens as u64;
                self.metrics
                    .add_ratios(tokens, tokens as f64, F::ONE, F::ONE);
            }
            (None, Some(_)) => {
                let (low, high) = sums.ratio_range.range();
                self.metrics
                    .add_ratios(view.tokens as u64, sums.ratio.sum(), low, high);
            }
        }
    }

    /// A block of a row with at least one counted token, in stages that each become vector code.
    #[inline(always)]
    fn block<const FULL: bool>(
        &self,
        row: &Row<'_, F, S::Row>,
        block: &Block<'_, F>,
        grad: &mut [F],
        entropy_grad: Option<&mut [F]>,
        sums: &mut Sums<F>,
    ) {
        let terms = self.terms;
        let mut counted = [FULL; BLOCK];
        if !FULL {
            counted[..grad.len()].copy_from_slice(block.mask);
        }
        let logps = gather::<F, FULL>(block.logps, &counted);

        let (mut log_ratios, mut ratios) = ([F::ZERO; BLOCK], [F::ONE; BLOCK]);
        if let Some((log_ratio, ratio)) = row.shared {
            (log_ratios, ratios) = ([log_ratio; BLOCK], [ratio; BLOCK]);
        } else if let Some(old) = block.old_logps {
            let old = gather::<F, FULL>(old, &counted);
            for t in 0..BLOCK {
                log_ratios[t] = logps[t] - old[t];
                ratios[t] = log_ratios[t].exp();
            }
            sums.ratio.add::<F, FULL>(&ratios, &counted);
            sums.ratio_range.add::<FULL>(&ratios, &counted);
        }

        let (mut values, mut directs, mut vias) =
            ([F::ZERO; BLOCK], [F::ZERO; BLOCK], [F::ZERO; BLOCK]);
        let (mut low, mut high) = (0u32, 0u32);
        for t in 0..BLOCK {
            let token = TokenView {
                logp: logps[t],
                log_ratio: log_ratios[t],
                ratio: ratios[t],
            };
            let term = self.surrogate.token(row.state, &token);
            low += u32::from(counted[t] & (term.clip == Clip::Low));
            high += u32::from(counted[t] & (term.clip == Clip::High));
            (values[t], directs[t], vias[t]) = (term.loss, term.d_logp, term.d_log_ratio);
        }
        sums.low += u64::from(low);
        sums.high += u64::from(high);

        let mut selected = counted;
        if let Some(entropies) = block.entropies {
            let entropies = gather::<F, FULL>(entropies, &counted);
            if let Some(threshold) = row.threshold {
                for t in 0..BLOCK {
                    selected[t] = counted[t] & (entropies[t].to_f64() >= threshold);
                }
            }
            sums.entropy.add::<F, FULL>(&entropies, &counted);
            // Even in a full block the quantile may leave tokens out.
            sums.bonus.add::<F, false>(&entropies, &selected);
        }
        sums.selected += if row.threshold.is_some() {
            count(&selected) as u64
        } else if FULL {
            BLOCK as u64
        } else {
            count(block.mask) as u64
        };
        if let Some(entropy_grad) = entropy_grad {
            for (grad, selected) in entropy_grad.iter_mut().zip(&selected) {
                *grad = if *selected { row.bonus_grad } else { F::ZERO };
            }
        }
        if let (false, Some(corrections)) = (S::OWNS_CORRECTION, block.importance_ratios) {
            let corrections = gather::<F, FULL>(corrections, &counted);
            for t in 0..BLOCK {
                values[t] *= corrections[t];
                directs[t] *= corrections[t];
                vias[t] *= corrections[t];
            }
        }
        let all = FULL && row.keep && row.threshold.is_none();
        for t in (0..BLOCK).filter(|_| !all) {
            let on = selected[t] & row.keep;
            values[t] = if on { values[t] } else { F::ZERO };
            directs[t] = if on { directs[t] } else { F::ZERO };
            vias[t] = if on { vias[t] } else { F::ZERO };
        }

        if let Some(reference) = block.ref_logps {
            let reference = gather::<F, FULL>(reference, &counted);
            let (mut kls, mut kl_grads) = ([F::ZERO; BLOCK], [F::ZERO; BLOCK]);
            terms.kl.block(&logps, &reference, &mut kls, &mut kl_grads);
            if terms.use_bias_correction_kl {
                for t in 0..BLOCK {
                    kls[t] *= ratios[t];
                    kl_grads[t] *= ratios[t];
                    vias[t] += row.beta * kls[t];
                }
            }
            for t in 0..BLOCK {
                values[t] += row.beta * kls[t];
                directs[t] += row.beta * kl_grads[t];
            }
            sums.kl.add::<F, FULL>(&kls, &counted);
        }
        sums.loss.add::<F, FULL>(&values, &counted);
        if row.shared.is_some() {
            sums.through_ratio.add::<F, FULL>(&vias, &counted);
        } else {
            for t in 0..BLOCK {
                directs[t] += vias[t];
            }
        }
        for t in 0..BLOCK {
            directs[t] = if FULL || counted[t] {
                directs[t] * row.weight
            } else {
                F::ZERO
            };
        }
        if FULL {
            grad[..BLOCK].copy_from_slice(&directs);
        } else {
            grad.copy_from_slice(&directs[..grad.len()]);
        }
    }

    /// Adds a row's sums to those of the batch.
    fn finish(&mut self, sums: &Sums<F>, tokens: u64, weight: f64) {
        let metrics = &mut self.metrics;
        metrics.tokens += tokens;
        metrics.selected_tokens += sums.selected;
        metrics.policy_loss += sums.loss.sum() * weight;
        metrics.kl = metrics.kl.map(|kl| kl + sums.kl.sum());
        metrics.entropy = metrics.entropy.map(|entropy| entropy + sums.entropy.sum());
        metrics.add_clips(
            self.terms.importance_sampling_level,
            tokens,
            sums.low,
            sums.high,
        );
        self.bonus += sums.bonus.sum();
    }
}

/// The parts of a row that the surrogate does not see.
struct Fields<'a, F> {
    /// Whether the policy term counts.
    keep: bool,
    /// The reference's log-probabilities, when the KL term is on.
    reference: Option<&'a [F]>,
    /// Entropies, when the batch has them.
    entropies: Option<&'a [F]>,
}

/// What the tokens of a row share.
struct Row<'a, F, R> {
    /// What the surrogate computed for the row.
    state: &'a R,
    /// Whether the policy term counts.
    keep: bool,
    /// Log ratio and ratio at sequence level.
    shared: Option<(F, F)>,
    /// Weight of each token.
    weight: F,
    beta: F,
    /// The entropy at or above which a token is selected.
    threshold: Option<f64>,
    /// Derivative of the loss with respect to a selected token's entropy.
    bonus_grad: F,
}

/// At most [`BLOCK`] tokens of a row.
struct Block<'a, F> {
    mask: &'a [bool],
    logps: &'a [F],
    old_logps: Option<&'a [F]>,
    ref_logps: Option<&'a [F]>,
    entropies: Option<&'a [F]>,
    importance_ratios: Option<&'a [F]>,
}

impl<'a, F: Real> Block<'a, F> {
    fn cut(view: &RowView<'a, F>, fields: &Fields<'a, F>, at: Range<usize>) -> Self {
        let cut = |field: Option<&'a [F]>| field.map(|f| &f[at.clone()]);
        Self {
            mask: &view.mask[at.clone()],
            logps: &view.logps[at.clone()],
            old_logps: cut(view.old_logps),
            ref_logps: cut(fields.reference),
            entropies: cut(fields.entropies),
            importance_ratios: cut(view.importance_ratios),
        }
    }
}

/// Sums over the tokens of a row.
struct Sums<F> {
    loss: Lanes,
    kl: Lanes,
    entropy: Lanes,
    bonus: Lanes,
    ratio: Lanes,
    ratio_range: RangeLanes<F>,
    /// Derivative with respect to the row's shared log ratio.
    through_ratio: Lanes,
    selected: u64,
    low: u64,
    high: u64,
}

impl<F: Real> Default for Sums<F> {
    fn default() -> Self {
        Self {
            loss: Lanes::default(),
            kl: Lanes::default(),
            entropy: Lanes::default(),
            bonus: Lanes::default(),
            ratio: Lanes::default(),
            ratio_range: RangeLanes::default(),
            through_ratio: Lanes::default(),
            selected: 0,
            low: 0,
            high: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::loss::{Cispo, Clipped, Loss, OnPolicy, Sapo, Vespo};
    use crate::{GrpoLoss, PolicyLoss, Terms, TokenBatch};

    /// Rows of whole blocks, against the same tokens with one that does not count after every
    /// nine, so that no block is whole.
    #[test]
    fn whole_blocks_equal_those_with_holes() {
        const LEN: usize = 207;
        const ROWS: usize = 3;
        let noise = |phase: f64| -> Vec<f64> {
            let tokens = 0..LEN * ROWS;
            tokens.map(|t| (t as f64 * 12.9898 + phase).sin()).collect()
        };
        let holed = |values: &[f64]| -> Vec<f64> {
            let nines = values.chunks(9);
            nines
                .flat_map(|nine| [nine, &[f64::NAN]].concat())
                .collect()
        };
        let fields = [0.0, 0.1, 0.2, 0.3].map(noise);
        let with_holes = fields.clone().map(|field| holed(&field));
        let mask = vec![true; LEN * ROWS];
        let holed_mask: Vec<_> = with_holes[0].iter().map(|value| !value.is_nan()).collect();
        let clip = Clipped::default();
        for loss in [
            Loss::PaperClsRl(OnPolicy {}),
            Loss::Dapo(clip),
            Loss::Luspo(clip),
            Loss::Cispo(Cispo::default()),
            Loss::Sapo(Sapo::default()),
            Loss::Vespo(Vespo::default()),
        ] {
            for quantile in [1.0, 0.3] {
                let terms = Terms {
                    top_entropy_quantile: quantile,
                    entropy_coef: 0.1,
                    ..Terms::default()
                };
                let evaluate = |len: usize, fields: &[Vec<f64>; 4], mask: &[bool]| {
                    let batch = TokenBatch::new(len, &fields[0], mask, &[1.0, -0.5, 0.3])
                        .with_old_logps(&fields[1])
                        .with_ref_logps(&fields[2])
                        .with_entropies(&fields[3]);
                    let (mut grad, mut bonus) = (vec![0.0; mask.len()], vec![0.0; mask.len()]);
                    let summary = GrpoLoss { loss, terms }
                        .evaluate_into(&batch, &mut grad, Some(&mut bonus))
                        .unwrap();
                    (summary, grad, bonus)
                };
                let (whole, grad, bonus) = evaluate(LEN, &fields, &mask);
                let (holes, holed_grad, holed_bonus) =
                    evaluate(LEN / 9 * 10, &with_holes, &holed_mask);
                assert!((whole.loss - holes.loss).abs() < 1e-13, "{loss:?}");
                assert_eq!(whole.metrics.selected_tokens, holes.metrics.selected_tokens);
                for ((name, metric), (_, other)) in
                    whole.metrics.named().into_iter().zip(holes.metrics.named())
                {
                    assert!((metric - other).abs() < 1e-12, "{loss:?} {name}");
                }
                for (found, expected) in [(holed_grad, grad), (holed_bonus, bonus)] {
                    let counted = found.iter().zip(&holed_mask).filter(|(_, m)| **m);
                    for ((found, _), expected) in counted.zip(expected) {
                        assert!((found - expected).abs() < 1e-15, "{loss:?}");
                    }
                }
            }
        }
    }
}
