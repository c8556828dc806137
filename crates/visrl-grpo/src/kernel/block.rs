//! The tokens of a row, block by block.

use crate::kl::{K1, K2, K3, Kl, KlEstimator};
use crate::lanes::{BLOCK, Tile, count, from, scatter};
use crate::loss::{Clip, RowView, Surrogate, Term, TokenView};
use crate::real::Real;

use super::Pass;
use super::room::{Block, Fields, Grads, Room, Row, Sums, Work};

impl<F: Real, S: Surrogate<F>> Pass<'_, F, S> {
    /// Cuts a row into blocks. Where the tokens that count come first, as those of a completion
    /// do, only whole blocks are left but for the last, which reaches back into the one before.
    #[inline(always)]
    pub(super) fn blocks(
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
