//! Rows of different lengths in the padded form that losses read.

use visrl_grpo::{Normalization, PolicyLoss, TokenBatch};

use super::rows::{LearnGroup, Place};

/// The counts of a whole batch, for its pieces; `entropies` are `[group][completion][token]`.
pub(crate) fn counts(
    loss: &dyn PolicyLoss<f32>,
    groups: &[LearnGroup],
    entropies: Option<Vec<Vec<Vec<f32>>>>,
) -> visrl_grpo::Result<Normalization> {
    let places: Vec<Place> = groups
        .iter()
        .enumerate()
        .flat_map(|(g, group)| {
            let completions = group.tokens.completions.iter().enumerate();
            completions.map(move |(i, ids)| (g, i, ids.len()))
        })
        .collect();
    let padded = Padded::new(&places, groups);
    // Counts do not depend on log-probabilities.
    let logps = vec![0.0; padded.mask.len()];
    let entropies = entropies.map(|all| {
        let flat: Vec<f32> = all.into_iter().flatten().flatten().collect();
        padded.fill(&flat)
    });
    let mut batch = TokenBatch::new(padded.len, &logps, &padded.mask, &padded.advantages)
        .with_truncated(&padded.truncated)
        .with_ref_logps(&logps);
    batch.entropies = entropies.as_deref();
    loss.normalization(&batch)
}

/// Completions as rows `[rows, len]`.
pub(crate) struct Padded {
    lengths: Vec<usize>,
    /// Tokens of the longest row.
    pub(crate) len: usize,
    /// Which tokens are no padding.
    pub(crate) mask: Vec<bool>,
    /// Of each row.
    pub(crate) advantages: Vec<f32>,
    /// Whether each row was cut at the length limit.
    pub(crate) truncated: Vec<bool>,
}

impl Padded {
    pub(crate) fn new(places: &[Place], groups: &[LearnGroup]) -> Self {
        let lengths: Vec<usize> = places.iter().map(|&(_, _, len)| len).collect();
        let len = lengths.iter().copied().max().unwrap_or(0);
        let mask = lengths
            .iter()
            .flat_map(|&own| (0..len).map(move |token| token < own))
            .collect();
        let advantages = places
            .iter()
            .map(|&(g, i, _)| groups[g].advantages[i])
            .collect();
        let truncated = places
            .iter()
            .map(|&(g, i, _)| groups[g].truncated[i])
            .collect();
        Self {
            lengths,
            len,
            mask,
            advantages,
            truncated,
        }
    }

    /// Values of all tokens, one row after another, to `[rows, len]`; padding is 0.
    pub(crate) fn fill(&self, flat: &[f32]) -> Vec<f32> {
        let mut out = vec![0.0; self.mask.len()];
        let mut at = 0;
        for (row, &own) in out.chunks_mut(self.len.max(1)).zip(&self.lengths) {
            row[..own].copy_from_slice(&flat[at..at + own]);
            at += own;
        }
        out
    }

    /// The way back: `[rows, len]` to the values of all tokens.
    pub(crate) fn flatten(&self, padded: &[f32]) -> Vec<f32> {
        let rows = padded.chunks(self.len.max(1)).zip(&self.lengths);
        rows.flat_map(|(row, &own)| row[..own].iter().copied())
            .collect()
    }
}
