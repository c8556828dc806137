//! Centred rewards.

use serde::{Deserialize, Serialize};

use crate::advantage::groups::{by_pieces, centre_and_scale};
use crate::advantage::moments::Bessel;
use crate::advantage::{AdvantageEstimator, RewardTable};
use crate::error::{Error, Result};
use crate::real::Real;

/// Dr. GRPO (arXiv 2503.20783): `A_i = r_i - mean of group`, unscaled, because dividing by the
/// group's standard deviation favours questions that are almost always or almost never solved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MeanOnly {}

impl<F: Real> AdvantageEstimator<F> for MeanOnly {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        Error::check_shape("out", out.len(), rewards.completions(), 1)?;
        by_pieces(rewards, out, |rewards, out| {
            rewards.totals(out);
            centre_and_scale::<F, false>(out, rewards.group_size(), Bessel::Exact, |_| F::ONE);
        });
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
