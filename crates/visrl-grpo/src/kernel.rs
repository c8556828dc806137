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

use std::ops::Range;

use rayon::prelude::*;

use crate::batch::TokenBatch;
use crate::error::{Error, Result};
use crate::importance::ImportanceLevel;
use crate::kl::{K1, K2, K3, Kl, KlEstimator};
use crate::lanes::{BLOCK, Lanes, RangeLanes, Tile, count, from, gather, scatter, vectorized};
use crate::loss::{Aggregation, Clip, RowView, Surrogate, Term, TokenView};
use crate::metrics::LossMetrics;
use crate::normalization::{Normalization, guarded};
use crate::off_policy;
use crate::pieces;
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

    /// Cuts a row into blocks. Where the tokens that count come first, as those of a completion
    /// do, only whole blocks are left but for the last, which reaches back into the one before.
    #[inline(always)]
    fn blocks(
        &self,
        row: &Row<'_, F, S::Row>,
        view: &RowView<'_, F>,
        fields: &Fields<'_, F>,
        grads: &mut Grads<'_, F>,
        work: &mut Work<F>,
    ) {
        let (len, tokens) = (view.mask.len(), view.tokens);
        // As many tokens as are taken in whole blocks without a look at the mask.
        let whole = if tokens >= BLOCK && (tokens == len || count(&view.mask[tokens..]) == 0) {
            tokens
        } else {
            0
        };
        // Whether nothing comes between the policy term and the usual KL term, so that one loop does
        // both.
        let fused = row.shared.is_none()
            && row.keep
            && row.threshold.is_none()
            && (S::OWNS_CORRECTION || view.importance_ratios.is_none())
            && !self.terms.use_bias_correction_kl
            && self.terms.kl == Kl::K3
            && fields.reference.is_some();
        let mut start = 0;
        while start < len {
            let end = if start < whole {
                whole.min(start + BLOCK)
            } else if whole > 0 {
                len
            } else {
                len.min(start + BLOCK)
            };
            let counted = match whole {
                0 => count(&view.mask[start..end]),
                _ if start < whole => end - start,
                _ => 0,
            };
            if counted == 0 {
                grads.cut(start..end).clear();
            } else if fused && counted == BLOCK {
                let block = Block::cut(view, fields, start..end);
                self.fused::<true>(row, &block, &[true; BLOCK], grads.cut(start..end), work);
            } else if whole > 0 || counted == BLOCK {
                let at = end - BLOCK..end;
                let (late, block) = (from(start - at.start), Block::cut(view, fields, at.clone()));
                if fused {
                    self.fused::<false>(row, &block, &late, grads.cut(at), work);
                } else {
                    self.staged(row, &block, &late, grads.cut(at), work);
                }
            } else {
                let mut counted = [false; BLOCK];
                counted[..end - start].copy_from_slice(&view.mask[start..end]);
                let mut gathered = [Tile::ZERO; 5];
                let block = Block::cut(view, fields, start..end).gather(&counted, &mut gathered);
                let (mut logps, mut entropies) = (Tile::ZERO, Tile::ZERO);
                let mut to = grads.cut(start..end);
                let out = Grads {
                    logps: &mut logps[..],
                    entropies: to.entropies.is_some().then_some(&mut entropies[..]),
                };
                self.staged(row, &block, &counted, out, work);
                scatter(&logps, &counted, to.logps);
                if let Some(to) = to.entropies.as_deref_mut() {
                    scatter(&entropies, &counted, to);
                }
            }
            start = end;
        }
    }

    /// A block of tokens with the usual options. Fields and gradients have [`BLOCK`] tokens, and
    /// numbers in every place; only those `counted` enter the sums. In a `FULL` block all are.
    #[inline(always)]
    fn fused<const FULL: bool>(
        &self,
        row: &Row<'_, F, S::Row>,
        block: &Block<'_, F>,
        counted: &[bool; BLOCK],
        grads: Grads<'_, F>,
        work: &mut Work<F>,
    ) {
        let Work {
            room,
            sums,
            row: seen,
        } = work;
        let logps = &block.logps[..BLOCK];
        let then = AddK3 {
            beta: row.beta,
            weight: row.weight,
            reference: block.ref_logps.map_or(logps, |r| &r[..BLOCK]),
            grad: &mut grads.logps[..BLOCK],
        };
        let clips = if let (false, Some(old)) = (S::ON_POLICY, block.old_logps) {
            let ratio = own_ratio(logps, &old[..BLOCK]);
            let clips = self.policy::<_, FULL>(row.state, logps, ratio, counted, room, then);
            sums.ratio.add::<F, FULL>(&room.ratios[..], counted);
            sums.ratio_range.add::<FULL>(&room.ratios, counted);
            clips
        } else {
            let ratio = |_| (F::ZERO, F::ONE);
            self.policy::<_, FULL>(row.state, logps, ratio, counted, room, then)
        };
        seen.clipped(clips);
        if let Some(entropies) = block.entropies {
            sums.entropy.add::<F, FULL>(entropies, counted);
            sums.bonus.add::<F, FULL>(entropies, counted);
        }
        sums.selected += if FULL { BLOCK } else { count(counted) } as u64;
        if let Some(grad) = grads.entropies {
            grad.fill(row.bonus_grad);
        }
        seen.policy.add::<F, FULL>(&room.values[..], counted);
        seen.kl.add::<F, FULL>(&room.kls[..], counted);
    }

    /// A block of tokens with any options, in stages.
    #[inline(always)]
    fn staged(
        &self,
        row: &Row<'_, F, S::Row>,
        block: &Block<'_, F>,
        counted: &[bool; BLOCK],
        grads: Grads<'_, F>,
        work: &mut Work<F>,
    ) {
        let Work {
            room,
            sums,
            row: seen,
        } = work;
        let logps = &block.logps[..BLOCK];
        let clips = if let (None, false, Some(old)) = (row.shared, S::ON_POLICY, block.old_logps) {
            let ratio = own_ratio(logps, &old[..BLOCK]);
            let clips = self.policy::<_, false>(row.state, logps, ratio, counted, room, Keep {});
            sums.ratio.add::<F, false>(&room.ratios[..], counted);
            sums.ratio_range.add::<false>(&room.ratios, counted);
            clips
        } else {
            let shared = row.shared.unwrap_or((F::ZERO, F::ONE));
            self.policy::<_, false>(row.state, logps, |_| shared, counted, room, Keep {})
        };
        seen.clipped(clips);
        if let (false, Some(corrections)) = (S::OWNS_CORRECTION, block.importance_ratios) {
            let corrections = &corrections[..BLOCK];
            for t in 0..BLOCK {
                room.values[t] *= corrections[t];
                room.directs[t] *= corrections[t];
                room.vias[t] *= corrections[t];
            }
        }
        entropies(row, block.entropies, counted, room, grads.entropies, sums);
        seen.policy.add::<F, false>(&room.values[..], counted);
        if let Some(reference) = block.ref_logps {
            let reference = &reference[..BLOCK];
            match self.terms.kl {
                Kl::K1 => estimate(K1, logps, reference, room),
                Kl::K2 => estimate(K2, logps, reference, room),
                Kl::K3 => estimate(K3, logps, reference, room),
            }
            if self.terms.use_bias_correction_kl {
                for t in 0..BLOCK {
                    room.kls[t] *= room.ratios[t];
                    room.slopes[t] *= room.ratios[t];
                    room.vias[t] += row.beta * room.kls[t];
                }
            }
            for t in 0..BLOCK {
                room.directs[t] += row.beta * room.slopes[t];
            }
            seen.kl.add::<F, false>(&room.kls[..], counted);
        }
        if row.shared.is_some() {
            seen.through_ratio.add::<F, false>(&room.vias[..], counted);
        } else {
            for t in 0..BLOCK {
                room.directs[t] += room.vias[t];
            }
        }
        let grad = &mut grads.logps[..BLOCK];
        for t in 0..BLOCK {
            grad[t] = room.directs[t] * row.weight;
        }
    }

    /// The policy term of a block with log ratio and ratio of each token, and how many tokens of it
    /// were clipped low and, in the upper half, high.
    #[inline(always)]
    fn policy<T: Then<F>, const FULL: bool>(
        &self,
        state: &S::Row,
        logps: &[F],
        ratio: impl Fn(usize) -> (F, F),
        counted: &[bool; BLOCK],
        room: &mut Room<F>,
        mut then: T,
    ) -> u32 {
        let mut clips = 0;
        for t in 0..BLOCK {
            let (log_ratio, ratio) = ratio(t);
            let token = TokenView {
                logp: logps[t],
                log_ratio,
                ratio,
            };
            let term = self.surrogate.token(state, &token);
            let clip = match term.clip {
                Clip::None => 0,
                Clip::Low => 1,
                Clip::High => 1 << 16,
            };
            clips += if FULL || counted[t] { clip } else { 0 };
            room.ratios[t] = ratio;
            room.values[t] = term.loss;
            then.token(t, logps[t], &term, room);
        }
        clips
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

/// Log ratio and ratio of each token.
#[inline(always)]
fn own_ratio<F: Real>(logps: &[F], old: &[F]) -> impl Fn(usize) -> (F, F) {
    #[inline(always)]
    |t| {
        let log_ratio = logps[t] - old[t];
        (log_ratio, log_ratio.exp())
    }
}

/// What is done with a token once its policy term is known.
trait Then<F> {
    fn token(&mut self, t: usize, logp: F, term: &Term<F>, room: &mut Room<F>);
}

/// Derivatives are kept for later stages.
struct Keep {}

impl<F: Real> Then<F> for Keep {
    #[inline(always)]
    fn token(&mut self, t: usize, _logp: F, term: &Term<F>, room: &mut Room<F>) {
        room.directs[t] = term.d_logp;
        room.vias[t] = term.d_log_ratio;
    }
}

/// The KL term is added, and the gradient written.
struct AddK3<'a, F> {
    beta: F,
    weight: F,
    reference: &'a [F],
    grad: &'a mut [F],
}

impl<F: Real> Then<F> for AddK3<'_, F> {
    #[inline(always)]
    fn token(&mut self, t: usize, logp: F, term: &Term<F>, room: &mut Room<F>) {
        let (value, slope) = K3.value_and_grad(logp, self.reference[t]);
        room.kls[t] = value;
        self.grad[t] = (term.d_logp + term.d_log_ratio + self.beta * slope) * self.weight;
    }
}

/// The KL estimates of a block and their derivatives.
#[inline(always)]
fn estimate<F: Real, K: KlEstimator<F>>(kl: K, logps: &[F], reference: &[F], room: &mut Room<F>) {
    for t in 0..BLOCK {
        (room.kls[t], room.slopes[t]) = kl.value_and_grad(logps[t], reference[t]);
    }
}

/// The entropies of a block: their sums and gradient, and the policy term of those tokens that take
/// part in it.
#[inline(always)]
fn entropies<F: Real, R>(
    row: &Row<'_, F, R>,
    entropies: Option<&[F]>,
    counted: &[bool; BLOCK],
    room: &mut Room<F>,
    grad: Option<&mut [F]>,
    sums: &mut Sums<F>,
) {
    // Tokens of high entropy, also those that another block counts.
    let (mut high, mut selected) = ([true; BLOCK], *counted);
    if let Some(entropies) = entropies {
        let entropies = &entropies[..BLOCK];
        if let Some(threshold) = row.threshold {
            for t in 0..BLOCK {
                high[t] = entropies[t].to_f64() >= threshold;
                selected[t] &= high[t];
            }
        }
        sums.entropy.add::<F, false>(entropies, counted);
        sums.bonus.add::<F, false>(entropies, &selected);
    }
    sums.selected += count(&selected) as u64;
    for (grad, high) in grad.into_iter().flatten().zip(high) {
        *grad = if high { row.bonus_grad } else { F::ZERO };
    }
    for t in 0..BLOCK {
        let on = high[t] & row.keep;
        for tile in [&mut room.values, &mut room.directs, &mut room.vias] {
            tile[t] = if on { tile[t] } else { F::ZERO };
        }
    }
}

/// The gradients that are written.
struct Grads<'a, F> {
    /// With respect to log-probabilities.
    logps: &'a mut [F],
    /// With respect to entropies, when asked for.
    entropies: Option<&'a mut [F]>,
}

impl<'a, F: Real> Grads<'a, F> {
    /// Pieces of this many tokens.
    fn cut_all(self, tokens: usize) -> Vec<Self> {
        let mut entropies = self.entropies.map(|g| g.chunks_mut(tokens));
        let pieces = self.logps.chunks_mut(tokens);
        pieces
            .map(|logps| Self {
                logps,
                entropies: entropies.as_mut().and_then(Iterator::next),
            })
            .collect()
    }

    #[inline(always)]
    fn cut(&mut self, at: Range<usize>) -> Grads<'_, F> {
        Grads {
            logps: &mut self.logps[at.clone()],
            entropies: self.entropies.as_deref_mut().map(|g| &mut g[at]),
        }
    }

    fn clear(&mut self) {
        self.logps.fill(F::ZERO);
        if let Some(entropies) = self.entropies.as_deref_mut() {
            entropies.fill(F::ZERO);
        }
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
    logps: &'a [F],
    old_logps: Option<&'a [F]>,
    ref_logps: Option<&'a [F]>,
    entropies: Option<&'a [F]>,
    importance_ratios: Option<&'a [F]>,
}

impl<'a, F: Real> Block<'a, F> {
    #[inline(always)]
    fn cut(view: &RowView<'a, F>, fields: &Fields<'a, F>, at: Range<usize>) -> Self {
        let cut = |field: Option<&'a [F]>| field.map(|f| &f[at.clone()]);
        Self {
            logps: &view.logps[at.clone()],
            old_logps: cut(view.old_logps),
            ref_logps: cut(fields.reference),
            entropies: cut(fields.entropies),
            importance_ratios: cut(view.importance_ratios),
        }
    }

    /// The block with zeros where tokens do not count and beyond its end.
    #[inline(always)]
    fn gather<'b>(&self, counted: &[bool; BLOCK], room: &'b mut [Tile<F>; 5]) -> Block<'b, F> {
        let [logps, old_logps, ref_logps, entropies, importance_ratios] = room;
        Block {
            logps: gather(self.logps, counted, logps),
            old_logps: self.old_logps.map(|f| gather(f, counted, old_logps)),
            ref_logps: self.ref_logps.map(|f| gather(f, counted, ref_logps)),
            entropies: self.entropies.map(|f| gather(f, counted, entropies)),
            importance_ratios: self
                .importance_ratios
                .map(|f| gather(f, counted, importance_ratios)),
        }
    }
}

/// What rows and blocks work on.
#[derive(Default)]
struct Work<F: Real> {
    room: Room<F>,
    row: RowSums,
    sums: Sums<F>,
}

/// What is known of the tokens of one block.
struct Room<F> {
    /// The policy term.
    values: Tile<F>,
    /// Its derivative with respect to the log-probability.
    directs: Tile<F>,
    /// Its derivative with respect to the log ratio.
    vias: Tile<F>,
    ratios: Tile<F>,
    kls: Tile<F>,
    /// The derivative of the KL estimate.
    slopes: Tile<F>,
}

impl<F: Real> Default for Room<F> {
    fn default() -> Self {
        Self {
            values: Tile::ZERO,
            directs: Tile::ZERO,
            vias: Tile::ZERO,
            ratios: Tile::ZERO,
            kls: Tile::ZERO,
            slopes: Tile::ZERO,
        }
    }
}

/// Sums over the tokens of a row.
#[derive(Default)]
struct RowSums {
    policy: Lanes,
    kl: Lanes,
    low: u64,
    high: u64,
    /// Derivative with respect to the row's shared log ratio.
    through_ratio: Lanes,
}

impl RowSums {
    /// Counts tokens clipped low and, in the upper half, high.
    #[inline(always)]
    fn clipped(&mut self, clips: u32) {
        self.low += u64::from(clips & 0xffff);
        self.high += u64::from(clips >> 16);
    }
}

/// Sums over the tokens of a batch.
struct Sums<F> {
    entropy: Lanes,
    bonus: Lanes,
    ratio: Lanes,
    ratio_range: RangeLanes<F>,
    selected: u64,
}

impl<F: Real> Default for Sums<F> {
    fn default() -> Self {
        Self {
            entropy: Lanes::default(),
            bonus: Lanes::default(),
            ratio: Lanes::default(),
            ratio_range: RangeLanes::default(),
            selected: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::loss::{Cispo, Clipped, Loss, OnPolicy, Sapo, Vespo};
    use crate::{GrpoLoss, PolicyLoss, Terms, TokenBatch};

    /// Rows of whole blocks, against the same tokens with one that does not count after every
    /// nine, so that no block is whole, and against the same tokens with padding.
    #[test]
    fn whole_blocks_equal_those_with_holes_and_padding() {
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
        // And the same before padding.
        let padded = |values: &[f64]| -> Vec<f64> {
            let rows = values.chunks(LEN);
            rows.flat_map(|row| [row, &[f64::NAN; 150]].concat())
                .collect()
        };
        let with_padding = fields.clone().map(|field| padded(&field));
        let mask = vec![true; LEN * ROWS];
        let counts = |field: &[f64]| field.iter().map(|value| !value.is_nan()).collect();
        let (holed_mask, padded_mask): (Vec<_>, Vec<_>) =
            (counts(&with_holes[0]), counts(&with_padding[0]));
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
                for (fields, mask) in [(&with_holes, &holed_mask), (&with_padding, &padded_mask)] {
                    let (other, other_grad, other_bonus) =
                        evaluate(mask.len() / ROWS, fields, mask);
                    assert!((whole.loss - other.loss).abs() < 1e-13, "{loss:?}");
                    assert_eq!(whole.metrics.selected_tokens, other.metrics.selected_tokens);
                    for ((name, metric), (_, other)) in
                        whole.metrics.named().into_iter().zip(other.metrics.named())
                    {
                        assert!((metric - other).abs() < 1e-12, "{loss:?} {name}");
                    }
                    for (found, expected) in [(other_grad, &grad), (other_bonus, &bonus)] {
                        let mut expected = expected.iter();
                        for (found, counted) in found.iter().zip(mask) {
                            let expected = if *counted {
                                expected.next().unwrap()
                            } else {
                                &0.0
                            };
                            assert!((found - expected).abs() < 1e-15, "{loss:?}");
                        }
                    }
                }
            }
        }
    }

    /// A batch of several pieces, whatever the threads, against its rows in one piece each.
    #[test]
    fn pieces_add_up_to_the_batch_on_any_number_of_threads() {
        const LEN: usize = 100;
        const ROWS: usize = 600;
        let noise = |phase: f64| -> Vec<f64> {
            let tokens = 0..LEN * ROWS;
            tokens.map(|t| (t as f64 * 12.9898 + phase).sin()).collect()
        };
        let [logps, old, reference, entropies] = [0.0, 0.1, 0.2, 0.3].map(noise);
        let mask: Vec<_> = (0..LEN * ROWS)
            .map(|t| t % LEN < 10 + t / LEN % 90)
            .collect();
        let advantages = noise(0.4);
        let batch = TokenBatch::new(LEN, &logps, &mask, &advantages[..ROWS])
            .with_old_logps(&old)
            .with_ref_logps(&reference)
            .with_entropies(&entropies);
        let loss = GrpoLoss {
            loss: Loss::Grpo(Clipped::default()),
            terms: Terms {
                entropy_coef: 0.1,
                top_entropy_quantile: 0.5,
                ..Terms::default()
            },
        };
        let evaluate = |batch: &TokenBatch<'_, f64>| {
            let (mut grad, mut bonus) = (vec![0.0; batch.mask.len()], vec![0.0; batch.mask.len()]);
            let summary = loss.evaluate_into(batch, &mut grad, Some(&mut bonus));
            (summary.unwrap(), grad, bonus)
        };
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
            pool.build().unwrap().install(|| evaluate(&batch))
        };
        let whole = on(1);
        assert_eq!(on(3), whole);
        let counts = loss.normalization(&batch).unwrap();
        let (mut sum, mut grad, mut bonus) = (0.0, vec![], vec![]);
        for row in 0..ROWS {
            let row = batch.slice(row..row + 1).unwrap();
            let (summary, row_grad, row_bonus) = evaluate(&row.with_normalization(counts));
            sum += summary.loss;
            grad.extend(row_grad);
            bonus.extend(row_bonus);
        }
        assert!((sum - whole.0.loss).abs() < 1e-12);
        assert_eq!((grad, bonus), (whole.1, whole.2));
    }
}
