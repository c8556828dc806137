//! Normalize every rule for itself, then add up.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::moments::{Bessel, Moments, centre_and_scale, or_zero};
use crate::advantage::paper::check_epsilon;
use crate::advantage::rewards::RewardTable;
use crate::error::{Error, Result};
use crate::real::Real;

/// GDPO (arXiv 2601.05242): each rule is normalized within the group,
/// `z_ik = (r_ik - mean_k) / (std_k + epsilon)`; the weighted sum over rules is normalized once
/// more over the batch. Rules of different spread then weigh as their weights say, and different
/// combinations of rewards do not collapse into the same advantage.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NormalizeThenSum {
    /// Added to every standard deviation. Default 1e-4.
    pub epsilon: f64,
    /// How the unbiased variance is rounded. Default exact.
    pub bessel: Bessel,
}

impl Default for NormalizeThenSum {
    fn default() -> Self {
        Self {
            epsilon: 1e-4,
            bessel: Bessel::Exact,
        }
    }
}

impl<F: Real> AdvantageEstimator<F> for NormalizeThenSum {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        check_epsilon(self.epsilon)?;
        Error::check_length("out", out.len(), rewards.completions(), "completion")?;
        let (epsilon, size) = (F::from_f64(self.epsilon), rewards.group_size());
        let scale = |moments: &Moments<F>| F::ONE / (moments.std + epsilon);
        // The weighted sum of the rules' normalized rewards; NaN until a rule could score.
        out.fill(F::NAN);
        let mut normalized = vec![F::ZERO; out.len()];
        for rule in 0..rewards.rules() {
            for (completion, value) in normalized.iter_mut().enumerate() {
                *value = rewards.reward(completion, rule);
            }
            centre_and_scale(&mut normalized, size, self.bessel, scale);
            for (completion, sum) in out.iter_mut().enumerate() {
                if !rewards.reward(completion, rule).is_nan() {
                    let part = normalized[completion] * rewards.weight(rule);
                    *sum = or_zero(*sum) + or_zero(part);
                }
            }
        }
        let batch = Moments::of(out, self.bessel);
        let scale = scale(&batch);
        for value in out {
            *value = or_zero((*value - batch.mean) * scale);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_different_spread_weigh_the_same() {
        let rewards = [100.0f64, 0.0, 0.0, 1.0, 0.0, 0.0, 100.0, 1.0];
        let table = RewardTable::new(&rewards, 2, 4).unwrap();
        let estimator = NormalizeThenSum {
            epsilon: 1e-12,
            ..Default::default()
        };
        let a = estimator.advantages(&table).unwrap();
        assert!(
            (a[0] - a[1]).abs() < 1e-9 && a[3] > 1.0 && a[2] < -1.0,
            "{a:?}"
        );
    }

    #[test]
    fn a_batch_without_differences_is_exactly_zero() {
        let estimator = NormalizeThenSum::default();
        let table = RewardTable::new(&[0.1f32; 8], 2, 2).unwrap();
        assert_eq!(estimator.advantages(&table).unwrap(), [0.0; 4]);
        let ones = RewardTable::new(&[0.1f32, 0.7], 1, 1).unwrap();
        assert_eq!(estimator.advantages(&ones).unwrap(), [0.0; 2]);
    }
}
