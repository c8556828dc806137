//! Each completion against the mean of the others.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::moments::{Bessel, Moments, centre_and_scale};
use crate::advantage::rewards::RewardTable;
use crate::error::Result;
use crate::real::Real;

/// RLOO (arXiv 2402.14740): `A_i = r_i - mean of the others = n / (n - 1) * (r_i - mean)`, where
/// `n` counts the scored completions of the group. The baseline does not depend on the
/// completion itself, so the gradient is unbiased.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaveOneOut {}

impl<F: Real> AdvantageEstimator<F> for LeaveOneOut {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        rewards.totals_into(out)?;
        let others = |moments: &Moments<F>| {
            let count = moments.count as f64;
            F::from_f64(count / (count - 1.0).max(1.0))
        };
        centre_and_scale(out, rewards.group_size(), Bessel::Exact, others);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        let rewards = [1.0, 0.0, 2.0, f64::NAN, 4.0, f64::NAN, f64::NAN, f64::NAN];
        let table = RewardTable::new(&rewards, 1, 4).unwrap();
        let a = LeaveOneOut {}.advantages(&table).unwrap();
        assert_eq!(a, [0.0, -1.5, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
