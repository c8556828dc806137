//! A seeded random draw of all parameters.

use visrl_core::ShuffleRng;

use super::weight_source::WeightSource;
use crate::error::Error;

/// Weights drawn anew: matrices and embeddings from N(0, `std`), the patch projection from
/// N(0, 0.02), biases 0, norms 1.
#[derive(Debug)]
pub struct RandomWeights {
    rng: ShuffleRng,
    std: f64,
}

impl RandomWeights {
    /// Draws from a generator with this standard deviation.
    pub fn new(rng: ShuffleRng, std: f64) -> Self {
        Self { rng, std }
    }
}

impl WeightSource for RandomWeights {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        if name.ends_with(".bias") {
            return Ok(vec![0.0; count]);
        }
        if shape.len() == 1 {
            return Ok(vec![1.0; count]);
        }
        let std = if name.contains("patch_embed") {
            0.02
        } else {
            self.std
        };
        Ok((0..count)
            .map(|_| (self.rng.normal() * std) as f32)
            .collect())
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::{Domain, SeedStream};

    use super::*;

    #[test]
    fn random_weights_are_drawn_by_kind() {
        let rng = SeedStream::new(1, Domain::Sampling).rng();
        let mut source = RandomWeights::new(rng, 0.5);
        assert_eq!(source.read("a.bias", &[2]).unwrap(), [0.0; 2]);
        assert_eq!(source.read("norm.weight", &[2]).unwrap(), [1.0; 2]);
        let drawn = source.read("a.weight", &[100, 100]).unwrap();
        let variance = drawn.iter().map(|x| x * x).sum::<f32>() / 1e4;
        assert!((variance - 0.25).abs() < 0.02, "{variance}");
    }
}
