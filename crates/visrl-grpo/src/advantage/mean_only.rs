//! Centred rewards.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::moments::{Bessel, centre_and_scale};
use crate::advantage::rewards::RewardTable;
use crate::error::Result;
use crate::real::Real;

/// Dr. GRPO (arXiv 2503.20783): `A_i = r_i - mean of group`, unscaled, because dividing by the
/// group's standard deviation favours questions that are almost always or almost never solved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanOnly {}

impl<F: Real> AdvantageEstimator<F> for MeanOnly {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        rewards.totals_into(out)?;
        centre_and_scale(out, rewards.group_size(), Bessel::Exact, |_| F::ONE);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let table = RewardTable::new(&[1.0f32, 0.0, 0.5, 0.5, 7.0, f32::NAN], 1, 2).unwrap();
        let a = MeanOnly {}.advantages(&table).unwrap();
        assert_eq!(a, [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]);
    }
}
