//! The tokens that filters have left, with the working memory to find them.

use super::log_softmax::LogSoftmax;
use super::select;

/// Candidates for the next token. Memory is kept from row to row.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidates {
    /// The scores of the whole vocabulary: logits after penalty, bans and temperature.
    pub(super) vocabulary: Vec<f32>,
    /// The ids still there, ascending.
    pub(super) ids: Vec<u32>,
    /// Their scores.
    pub(super) scores: Vec<f32>,
    /// Their probabilities, after [`normalize`](Self::normalize).
    pub(super) probabilities: Vec<f32>,
    /// Working memory of filters that look for a cut.
    pub(super) scratch: Vec<f32>,
    /// The same for sorted candidates.
    pub(super) keys: Vec<u64>,
}

impl Candidates {
    /// Takes those of the vocabulary that score at least this. Minus infinity is never among them.
    pub(super) fn take_from(&mut self, least: f32) {
        select::gather(&self.vocabulary, least, &mut self.ids, &mut self.scores);
    }

    /// Computes the probabilities of the tokens still there; nothing when they have none.
    pub(super) fn normalize(&mut self) -> Option<LogSoftmax> {
        LogSoftmax::with_probabilities(&self.scores, &mut self.probabilities)
    }

    /// Keeps tokens by place, score and probability.
    pub(super) fn retain(&mut self, keep: impl Fn(usize, f32, f32) -> bool) {
        let mut kept = 0;
        for place in 0..self.ids.len() {
            let (id, score) = (self.ids[place], self.scores[place]);
            (self.ids[kept], self.scores[kept]) = (id, score);
            kept += usize::from(keep(place, score, self.probabilities[place]));
        }
        self.ids.truncate(kept);
        self.scores.truncate(kept);
    }

    /// How far below the largest score tokens are so unlikely that all of them together have less
    /// than half of this probability.
    pub(super) fn reach(&self, probability: f32) -> f32 {
        (2.0 * self.scores.len() as f32 / probability).ln()
    }

    /// All tokens of a vocabulary with these scores.
    #[cfg(test)]
    pub(super) fn of(scores: &[f32]) -> Self {
        let mut candidates = Self {
            vocabulary: scores.to_vec(),
            ..Self::default()
        };
        candidates.take_from(f32::NEG_INFINITY);
        candidates
    }
}
