//! What rows and blocks read, write and add up.

use std::ops::Range;

use crate::lanes::{BLOCK, Lanes, RangeLanes, Tile, gather};
use crate::loss::RowView;
use crate::real::Real;

/// The gradients that are written.
pub(super) struct Grads<'a, F> {
    /// With respect to log-probabilities.
    pub(super) logps: &'a mut [F],
    /// With respect to entropies, when asked for.
    pub(super) entropies: Option<&'a mut [F]>,
}

impl<'a, F: Real> Grads<'a, F> {
    /// Pieces of this many tokens.
    pub(super) fn cut_all(self, tokens: usize) -> Vec<Self> {
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
    pub(super) fn cut(&mut self, at: Range<usize>) -> Grads<'_, F> {
        Grads {
            logps: &mut self.logps[at.clone()],
            entropies: self.entropies.as_deref_mut().map(|g| &mut g[at]),
        }
    }

    pub(super) fn clear(&mut self) {
        self.logps.fill(F::ZERO);
        if let Some(entropies) = self.entropies.as_deref_mut() {
            entropies.fill(F::ZERO);
        }
    }
}

/// The parts of a row that the surrogate does not see.
pub(super) struct Fields<'a, F> {
    /// Whether the policy term counts.
    pub(super) keep: bool,
    /// The reference's log-probabilities, when the KL term is on.
    pub(super) reference: Option<&'a [F]>,
    /// Entropies, when the batch has them.
    pub(super) entropies: Option<&'a [F]>,
}

/// What the tokens of a row share.
pub(super) struct Row<'a, F, R> {
    /// What the surrogate computed for the row.
    pub(super) state: &'a R,
    /// Whether the policy term counts.
    pub(super) keep: bool,
    /// Log ratio and ratio at sequence level.
    pub(super) shared: Option<(F, F)>,
    /// Weight of each token.
    pub(super) weight: F,
    pub(super) beta: F,
    /// The entropy at or above which a token is selected.
    pub(super) threshold: Option<f64>,
    /// Derivative of the loss with respect to a selected token's entropy.
    pub(super) bonus_grad: F,
}

/// At most [`BLOCK`] tokens of a row.
pub(super) struct Block<'a, F> {
    pub(super) logps: &'a [F],
    pub(super) old_logps: Option<&'a [F]>,
    pub(super) ref_logps: Option<&'a [F]>,
    pub(super) entropies: Option<&'a [F]>,
    pub(super) importance_ratios: Option<&'a [F]>,
}

impl<'a, F: Real> Block<'a, F> {
    #[inline(always)]
    pub(super) fn cut(view: &RowView<'a, F>, fields: &Fields<'a, F>, at: Range<usize>) -> Self {
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
    pub(super) fn gather<'b>(
        &self,
        counted: &[bool; BLOCK],
        room: &'b mut [Tile<F>; 5],
    ) -> Block<'b, F> {
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
pub(super) struct Work<F: Real> {
    pub(super) room: Room<F>,
    pub(super) row: RowSums,
    pub(super) sums: Sums<F>,
}

/// What is known of the tokens of one block.
pub(super) struct Room<F> {
    /// The policy term.
    pub(super) values: Tile<F>,
    /// Its derivative with respect to the log-probability.
    pub(super) directs: Tile<F>,
    /// Its derivative with respect to the log ratio.
    pub(super) vias: Tile<F>,
    pub(super) ratios: Tile<F>,
    pub(super) kls: Tile<F>,
    /// The derivative of the KL estimate.
    pub(super) slopes: Tile<F>,
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
pub(super) struct RowSums {
    pub(super) policy: Lanes,
    pub(super) kl: Lanes,
    pub(super) low: u64,
    pub(super) high: u64,
    /// Derivative with respect to the row's shared log ratio.
    pub(super) through_ratio: Lanes,
}

impl RowSums {
    /// Counts tokens clipped low and, in the upper half, high.
    #[inline(always)]
    pub(super) fn clipped(&mut self, clips: u32) {
        self.low += u64::from(clips & 0xffff);
        self.high += u64::from(clips >> 16);
    }
}

/// Sums over the tokens of a batch.
pub(super) struct Sums<F> {
    pub(super) entropy: Lanes,
    pub(super) bonus: Lanes,
    pub(super) ratio: Lanes,
    pub(super) ratio_range: RangeLanes<F>,
    pub(super) selected: u64,
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
