//! The draw itself: a random number that depends on where it is drawn alone, and the token that it
//! falls on.

use visrl_core::SeedStream;

use super::vector;

/// Where a token is drawn: the counter of its random number.
///
/// Two draws with the same counter under the same stream are the same, whatever was drawn before,
/// beside or on another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DrawCounter {
    /// The training step.
    pub step: u32,
    /// The prompt's number within the step.
    pub prompt: u32,
    /// The completion's number within its group, from 0.
    pub sample: u32,
    /// The token's position in its completion, from 0.
    pub position: u32,
}

impl DrawCounter {
    /// The uniform number in `[0, 1)` at this counter.
    pub fn uniform(self, stream: &SeedStream) -> f64 {
        stream.uniform([self.step, self.prompt, self.sample, self.position])
    }
}

/// The place of the first probability whose cumulative sum exceeds `u` in `[0, 1)` of the whole. A
/// place without probability is never drawn.
pub(super) fn draw(probabilities: &[f32], u: f64) -> usize {
    const BLOCK: usize = 1024;
    let blocks = || probabilities.chunks(BLOCK);
    let total: f64 = blocks().map(vector::sum).sum();
    let target = u.max(0.0) * total;
    let mut sum = 0.0;
    let mut last = 0;
    for (number, block) in blocks().enumerate() {
        let after = sum + vector::sum(block);
        if after <= target && number * BLOCK + block.len() < probabilities.len() {
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

#[cfg(test)]
mod tests {
    use visrl_core::Domain;

    use super::*;

    #[test]
    fn draws_find_their_block() {
        let even = vec![1.0 / 5000.0; 5000];
        for place in (0..5000).step_by(97).chain([1023, 1024, 4999]) {
            let u = (place as f64 + 0.5) / 5000.0;
            assert_eq!(draw(&even, u), place);
        }
        let edges = [
            (0.0, 0),
            (1.0 - f64::EPSILON / 2.0, 4999),
            (2.0, 4999),
            (-1.0, 0),
        ];
        for (u, place) in edges {
            assert_eq!(draw(&even, u), place);
        }
    }

    #[test]
    fn what_has_no_probability_is_not_drawn() {
        let probabilities = [0.0, 0.5, 0.0, 0.5, 0.0];
        let drawn = [0.0, 0.49, 0.5, 0.99, 1.0].map(|u| draw(&probabilities, u));
        assert_eq!(drawn, [1, 1, 3, 3, 3]);
    }

    #[test]
    fn each_part_of_the_counter_counts() {
        let stream = SeedStream::new(1, Domain::Sampling);
        let first = DrawCounter {
            step: 3,
            prompt: 3,
            sample: 3,
            position: 3,
        };
        let others = [
            DrawCounter { step: 4, ..first },
            DrawCounter { prompt: 4, ..first },
            DrawCounter { sample: 4, ..first },
            DrawCounter {
                position: 4,
                ..first
            },
        ];
        assert_eq!(first.uniform(&stream), stream.uniform([3; 4]));
        for other in others {
            assert_ne!(first.uniform(&stream), other.uniform(&stream), "{other:?}");
        }
    }
}
