//! Normalize every rule for itself, then add up.

use serde::{Deserialize, Serialize};

use crate::advantage::moments::{Bessel, Moments, or_zero, standardized};
use crate::advantage::paper::check_epsilon;
use crate::advantage::{AdvantageEstimator, RewardTable};
use crate::error::{Error, Result};
use crate::lanes::vectorized;
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
        Error::check_shape("out", out.len(), rewards.completions(), 1)?;
        let epsilon = F::from_f64(self.epsilon);
        let size = rewards.group_size();
        let (mut column, mut scored) = (Vec::with_capacity(size), Vec::with_capacity(size));
        vectorized(
            #[inline(always)]
            || {
                for (group, out) in out.chunks_mut(size).enumerate() {
                    let members = group * size..(group + 1) * size;
                    out.fill(F::ZERO);
                    scored.clear();
                    scored.resize(size, false);
                    for rule in 0..rewards.rules() {
                        column.clear();
                        column.extend(members.clone().map(|i| rewards.reward(i, rule)));
                        let moments = Moments::of(&column, self.bessel);
                        let weight = rewards.weight(rule);
                        for ((sum, scored), reward) in out.iter_mut().zip(&mut scored).zip(&column)
                        {
                            *scored |= !reward.is_nan();
                            *sum += or_zero(standardized(*reward, &moments, epsilon) * weight);
                        }
                    }
                    for (sum, scored) in out.iter_mut().zip(&scored) {
                        *sum = if *scored { *sum } else { F::NAN };
                    }
                }
                let batch = Moments::of(out, self.bessel);
                for value in out.iter_mut() {
                    *value = standardized(*value, &batch, epsilon);
                }
            },
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_different_spread_weigh_the_same() {
        let rewards = [100.0, 0.0, 0.0, 1.0, 0.0, 0.0, 100.0, 1.0];
        let table = RewardTable::new(&rewards, 2, 4).unwrap();
        let a = NormalizeThenSum {
            epsilon: 1e-12,
            ..Default::default()
        }
        .advantages(&table)
        .unwrap();
        assert!(
            (a[0] - a[1]).abs() < 1e-9 && a[3] > 1.0 && a[2] < -1.0,
            "{a:?}"
        );
    }

    #[test]
    fn a_batch_without_differences_is_exactly_zero() {
        let table = RewardTable::new(&[0.1f32; 8], 2, 2).unwrap();
        assert_eq!(
            NormalizeThenSum::default().advantages(&table).unwrap(),
            [0.0; 4]
        );
        let ones = RewardTable::new(&[0.1f32, 0.7], 1, 1).unwrap();
        assert_eq!(
            NormalizeThenSum::default().advantages(&ones).unwrap(),
            [0.0; 2]
        );
    }
}
