//! The loop that every loss shares: one pass over the tokens of each row.
//!
//! Row by row: count the mask, look at the row once (sequence ratio, corrections, off-policy
//! mask), then for every token value and derivative at once, written straight into the caller's
//! gradient. Tokens are taken in small blocks, in stages without branches that become vector code.
//! Sequence-level ratios add one pass over the row's gradient, while it is in cache. Large batches
//! are cut into pieces of rows for several threads. Nothing is allocated but the list of pieces and,
//! for an importance correction, one row of scratch in each.

// Loops over the tokens of a block index several fields alike.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

use crate::batch::TokenBatch;
use crate::error::{Error, Result};
use crate::importance::ImportanceLevel;
use crate::lanes::{count, vectorized};
use crate::loss::{Aggregation, RowView, Surrogate};
use crate::metrics::LossMetrics;
use crate::normalization::{Normalization, guarded};
use crate::off_policy;
use crate::pieces;
use crate::policy_loss::LossSummary;
use crate::real::Real;
use crate::terms::{EmptyRows, Terms};

use room::{Fields, Grads, Row, RowSums, Sums, Work};

mod block;
mod room;
#[cfg(test)]
mod tests;

/// Evaluates a loss; see [`PolicyLoss::evaluate_into`](crate::PolicyLoss::evaluate_into).
pub(crate) fn evaluate<F: Real, S: Surrogate<F>>(
    surrogate: &S,
    aggregation: Aggregation,
    terms: &Terms,
    batch: &TokenBatch<'_, F>,
    grad: &mut [F],
    entropy_grad: Option<&mut [F]>,
) -> Result<LossSummary> {
    surrogate.validate()?;
    terms.check(batch)?;
    Error::check_shape("grad", grad.len(), batch.rows(), batch.len)?;
    if let Some(entropy_grad) = &entropy_grad {
        Error::check_shape("entropy_grad", entropy_grad.len(), batch.rows(), batch.len)?;
    }
    let counts = batch.normalization.unwrap_or_else(|| terms.count(batch));
    let grads = Grads {
        logps: grad,
        entropies: entropy_grad,
    };
    let rows = pieces::size(batch.rows(), batch.len);
    let evaluate = |(piece, grads): (usize, Grads<'_, F>)| {
        let pass = Pass {
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
            scratch: Vec::new(),
        };
        pass.rows(piece * rows, grads)
    };
    let (metrics, bonus) = if rows >= batch.rows() {
        evaluate((0, grads))
    } else {
        // Cut by size alone and added up in order, so that it does not matter how many threads
        // there are.
        let pieces = grads.cut_all(rows * batch.len).into_par_iter().enumerate();
        let done = pieces.map(evaluate).collect::<Vec<_>>();
        let mut whole = (LossMetrics::default(), 0.0);
        for (metrics, bonus) in done {
            whole.0.merge(&metrics);
            whole.1 += bonus;
        }
        whole
    };
    let bonus = terms.entropy_coef * bonus / guarded(counts.entropy_tokens);
    Ok(LossSummary {
        loss: metrics.policy_loss - bonus,
        metrics,
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
    /// One row of importance ratios.
    scratch: Vec<F>,
}

impl<F: Real, S: Surrogate<F>> Pass<'_, F, S> {
    /// Evaluates the rows from the `first` on that have a place in the gradients: their metrics,
    /// and the sum of the selected tokens' entropies.
    fn rows(mut self, first: usize, mut grads: Grads<'_, F>) -> (LossMetrics, f64) {
        let len = self.batch.len;
        let rows = grads.logps.len().checked_div(len);
        let rows = rows.unwrap_or_else(|| self.batch.rows());
        let mut work = Work::default();
        vectorized(
            #[inline(always)]
            || {
                for row in 0..rows {
                    let at = row * len..(row + 1) * len;
                    self.row(first + row, grads.cut(at), &mut work);
                }
            },
        );
        let bonus = work.sums.bonus.sum();
        (self.finish(&work.sums), bonus)
    }

    /// Evaluates one row into its part of the gradients.
    #[inline(always)]
    fn row(&mut self, row: usize, grads: Grads<'_, F>, work: &mut Work<F>) {
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
            self.empty_row(grads);
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
            self.tokens(&view, &state, &fields, grads, work);
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
    fn empty_row(&mut self, mut grads: Grads<'_, F>) {
        let unguarded = self.terms.empty_rows == EmptyRows::Nan
            && self.aggregation == Aggregation::SequenceMean;
        grads.clear();
        if unguarded {
            grads.logps.fill(F::NAN);
            self.metrics.policy_loss = f64::NAN;
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
        mut grads: Grads<'_, F>,
        work: &mut Work<F>,
    ) {
        let terms = self.terms;
        let weight = self.aggregation.weight(view.tokens, &self.counts);
        let tokens = view.tokens as u64;
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
        work.row = RowSums::default();
        self.blocks(&row, view, fields, &mut grads, work);
        let seen = &work.row;
        if shared.is_some() {
            let share = F::from_f64(seen.through_ratio.sum() * weight / view.tokens as f64);
            for (grad, counted) in grads.logps.iter_mut().zip(view.mask) {
                *grad += if *counted { share } else { F::ZERO };
            }
        }
        let kl = seen.kl.sum();
        let metrics = &mut self.metrics;
        metrics.policy_loss += (seen.policy.sum() + terms.beta * kl) * weight;
        metrics.kl = metrics.kl.map(|sum| sum + kl);
        metrics.tokens += tokens;
        metrics.add_clips(level, tokens, seen.low, seen.high);
        if let Some((_, ratio)) = shared {
            metrics.add_ratios(1, ratio.to_f64(), ratio, ratio);
        } else if view.old_logps.is_none() {
            metrics.add_ratios(tokens, tokens as f64, F::ONE, F::ONE);
        } else {
            metrics.ratios += tokens;
        }
    }

    /// The metrics of all rows.
    fn finish(mut self, sums: &Sums<F>) -> LossMetrics {
        let metrics = &mut self.metrics;
        metrics.selected_tokens += sums.selected;
        metrics.entropy = metrics.entropy.map(|entropy| entropy + sums.entropy.sum());
        metrics.ratio += sums.ratio.sum();
        if let Some((low, high)) = sums.ratio_range.range() {
            metrics.add_ratios(0, 0.0, low, high);
        }
        self.metrics
    }
}
