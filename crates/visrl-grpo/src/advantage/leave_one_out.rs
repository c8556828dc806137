//! Each completion against the mean of the others.

use serde::{Deserialize, Serialize};

use crate::advantage::moments::{Bessel, Moments, or_zero};
use crate::advantage::{AdvantageEstimator, RewardTable};
use crate::error::Result;
use crate::lanes::vectorized;
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
        vectorized(
            #[inline(always)]
            || {
                for group in out.chunks_mut(rewards.group_size()) {
                    let scored = group.iter().filter(|v| !v.is_nan()).count();
                    let others = scored.saturating_sub(1).max(1);
                    let factor = F::from_f64(scored as f64 / others as f64);
                    let mean = Moments::of(group, Bessel::Exact).mean;
                    for value in group {
                        *value = or_zero((*value - mean) * factor);
                    }
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
    fn by_hand() {
        let rewards = [1.0, 0.0, 2.0, f64::NAN, 4.0, f64::NAN, f64::NAN, f64::NAN];
        let table = RewardTable::new(&rewards, 1, 4).unwrap();
        let a = LeaveOneOut {}.advantages(&table).unwrap();
        assert_eq!(a, [0.0, -1.5, 1.5, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
