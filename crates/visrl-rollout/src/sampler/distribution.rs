use super::math::{self, LogNorm};

/// The tokens that can be drawn, in the order of their ids.
#[derive(Clone, Copy, Debug)]
pub struct Distribution<'a> {
    pub(super) ids: &'a [u32],
    pub(super) scores: &'a [f32],
    pub(super) probabilities: &'a [f32],
    pub(super) norm: LogNorm,
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
    pub fn logprobs(&self) -> impl ExactSizeIterator<Item = f32> + 'a {
        let norm = self.norm;
        self.scores.iter().map(move |&score| norm.logprob(score))
    }

    /// The entropy in nats.
    pub fn entropy(&self) -> f64 {
        math::entropy(self.norm, self.scores, self.probabilities)
    }

    /// The place among the ids of the first whose cumulative probability exceeds `u` in `[0, 1)`.
    /// A token without probability is never drawn.
    pub fn draw(&self, u: f64) -> usize {
        const BLOCK: usize = 1024;
        let blocks = || self.probabilities.chunks(BLOCK);
        let total: f64 = blocks().map(math::sum).sum();
        let target = u.max(0.0) * total;
        let mut sum = 0.0;
        let mut last = 0;
        for (number, block) in blocks().enumerate() {
            let after = sum + math::sum(block);
            if after <= target && number * BLOCK + block.len() < self.probabilities.len() {
                sum = after;
                continue;
            }
            for (place, &probability) in block.iter().enumerate() {
                sum += f64::from(probability);
                if probability > 0.0 {
                    last = number * BLOCK + place;
                }
                if sum > target {
                    break;
                }
            }
            break;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use crate::{Sampler, SamplingParams};

    #[test]
    fn draws_find_their_block() {
        let params = SamplingParams {
            top_k: 0,
            ..Default::default()
        };
        let mut sampler = Sampler::default();
        let logits = vec![0.25; 5000];
        for token in (0..5000u32).step_by(97).chain([1023, 1024, 4999]) {
            let u = (f64::from(token) + 0.5) / 5000.0;
            assert_eq!(
                sampler.sample(&logits, &params, &[], u).unwrap().token,
                token
            );
        }
        let edges = [
            (0.0, 0),
            (1.0 - f64::EPSILON / 2.0, 4999),
            (2.0, 4999),
            (-1.0, 0),
        ];
        for (u, token) in edges {
            assert_eq!(
                sampler.sample(&logits, &params, &[], u).unwrap().token,
                token
            );
        }
    }
}
