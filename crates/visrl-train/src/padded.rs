//! Rows of different lengths in the padded form that losses read.

use crate::LearnGroup;
use crate::rows::Place;

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
