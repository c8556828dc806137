//! Normalize every rule for itself, then add up.

use serde::{Deserialize, Serialize};

use crate::advantage::groups::{by_pieces, centre_and_scale};
use crate::advantage::moments::{Bessel, Moments, or_zero};
use crate::advantage::paper::check_epsilon;
use crate::advantage::{AdvantageEstimator, RewardTable};
use crate::error::{Error, Result};
use crate::lanes::vectorized;
use crate::pieces;
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
        pieces::on_pool(out.len(), 1, || {
            by_pieces(rewards, out, |rewards, out| self.sums(&rewards, out));
            let batch = Moments::of_batch(out, self.bessel);
            let scale = F::ONE / (batch.std + epsilon);
            by_pieces(rewards, out, |_, out| {
                vectorized(
                    #[inline(always)]
                    || {
                        for value in out {
                            *value = or_zero((*value - batch.mean) * scale);
                        }
                    },
                );
            });
        });
        Ok(())
    }
}

impl NormalizeThenSum {
    /// The weighted sums of the rules, each normalized within its groups; NaN where no rule could
    /// score.
    fn sums<F: Real>(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) {
        let (epsilon, size) = (F::from_f64(self.epsilon), rewards.group_size());
        let scale = |moments: &Moments<F>| F::ONE / (moments.std + epsilon);
        // Some groups at a time, so that they stay in the cache from rule to rule.
        let some = ((4096 / size).max(1) * size).min(out.len());
        let mut normalized = vec![F::ZERO; some];
        let mut room = vec![F::ZERO; if rewards.rules() > 1 { some } else { 0 }];
        for (index, out) in out.chunks_mut(some.max(1)).enumerate() {
            let rewards = rewards.cut(index * some..index * some + out.len());
            let normalized = &mut normalized[..out.len()];
            out.fill(F::NAN);
            for rule in 0..rewards.rules() {
                let column = rewards.column(rule, &mut room);
                normalized.copy_from_slice(&column[..out.len()]);
                centre_and_scale::<F, true>(normalized, size, self.bessel, scale);
                add_rule(out, column, normalized, rewards.weight(rule));
            }
        }
    }
}

/// Adds the normalized rewards of a rule to sums, which are NaN until a rule could score.
fn add_rule<F: Real>(out: &mut [F], rewards: &[F], normalized: &[F], weight: F) {
    vectorized(
        #[inline(always)]
        || {
            for ((sum, reward), value) in out.iter_mut().zip(rewards).zip(normalized) {
                let part = or_zero(*sum) + or_zero(*value * weight);
                *sum = if reward.is_nan() { *sum } else { part };
            }
        },
    );
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
