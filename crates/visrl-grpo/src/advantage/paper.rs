//! The paper's advantage.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::moments::{Bessel, Moments, centre_and_scale};
use crate::advantage::rewards::RewardTable;
use crate::error::{Error, Result};
use crate::real::Real;

/// `A_i = (r_i - mean) / (std + epsilon)` over the group, with the unbiased standard deviation:
/// GRPO (arXiv 2402.03300, section 4.1) as the paper (arXiv 2503.16188) computes it.
///
/// For a group of one the formula is `0 / NaN`; here it is 0, see [`AdvantageEstimator`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Paper {
    /// Added to the standard deviation. Default 1e-4.
    pub epsilon: f64,
}

impl Default for Paper {
    fn default() -> Self {
        Self { epsilon: 1e-4 }
    }
}

impl<F: Real> AdvantageEstimator<F> for Paper {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        check_epsilon(self.epsilon)?;
        let epsilon = F::from_f64(self.epsilon);
        rewards.totals_into(out)?;
        let scale = |moments: &Moments<F>| F::ONE / (moments.std + epsilon);
        centre_and_scale(out, rewards.group_size(), Bessel::Exact, scale);
        Ok(())
    }
}

/// Checks what is added to a standard deviation.
pub(super) fn check_epsilon(epsilon: f64) -> Result<()> {
    Error::check_config(epsilon > 0.0, "epsilon", epsilon, "above zero")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let table = RewardTable::new(&[1.0, 0.0, 0.0, 0.0f64], 1, 4).unwrap();
        let a = Paper::default().advantages(&table).unwrap();
        assert!((a[0] - 0.75 / 0.5001).abs() < 1e-15 && (a[1] + 0.25 / 0.5001).abs() < 1e-15);
    }

    #[test]
    fn groups_that_teach_nothing_are_exactly_zero() {
        for (rewards, size) in [(vec![0.1f32; 6], 3), (vec![1.0, 5.0, 7.0], 1)] {
            let table = RewardTable::new(&rewards, 1, size).unwrap();
            let advantages = Paper::default().advantages(&table).unwrap();
            assert!(advantages.iter().all(|a| *a == 0.0));
        }
    }

    #[test]
    fn an_epsilon_of_zero_is_refused() {
        let table = RewardTable::new(&[1.0f32], 1, 1).unwrap();
        assert!(Paper { epsilon: 0.0 }.advantages(&table).is_err());
    }
}
