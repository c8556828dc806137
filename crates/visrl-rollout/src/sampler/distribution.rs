//! The distribution that a token is drawn from.

use super::draw::draw;
use super::log_softmax::LogSoftmax;

/// The tokens that can be drawn, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    pub(super) ids: &'a [u32],
    pub(super) scores: &'a [f32],
    pub(super) probabilities: &'a [f32],
    pub(super) norm: LogSoftmax,
}

impl<'a> Distribution<'a> {
    /// The ids of the tokens kept, ascending.
    pub fn ids(&self) -> &'a [u32] {
        self.ids
    }

    /// Their logits after repetition penalty and temperature, as many as ids.
    pub fn scores(&self) -> &'a [f32] {
        self.scores
    }

    /// Their probabilities, which sum to 1, as many as ids. One can be 0 where f32 ends.
    pub fn probabilities(&self) -> &'a [f32] {
        self.probabilities
    }

    /// Their log-probabilities in nats, as many as ids.
    pub fn logps(&self) -> impl ExactSizeIterator<Item = f32> + 'a {
        let norm = self.norm;
        self.scores.iter().map(move |&score| norm.logp(score))
    }

    /// The entropy in nats.
    pub fn entropy(&self) -> f64 {
        self.norm.entropy(self.scores, self.probabilities)
    }

    /// The place among the ids of the first whose cumulative probability exceeds `u` in `[0, 1)`.
    /// A token without probability is never drawn.
    pub fn draw(&self, u: f64) -> usize {
        draw(self.probabilities, u)
    }
}
