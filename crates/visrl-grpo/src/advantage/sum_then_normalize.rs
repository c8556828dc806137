//! Add the rules up, then normalize.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::moments::{Bessel, Moments, centre_and_scale};
use crate::advantage::paper::check_epsilon;
use crate::advantage::rewards::RewardTable;
use crate::error::Result;
use crate::real::Real;

/// Which standard deviation divides the centred rewards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scale {
    /// That of the completion's own group (GRPO). The default.
    #[default]
    Group,
    /// That of the whole batch (PPO Lite, arXiv 2508.08221): a group whose rewards hardly differ
    /// is not blown up.
    Batch,
    /// None: rewards are only centred (Dr. GRPO, arXiv 2503.20783).
    None,
}

/// `A_i = (r_i - mean of group) / (std + epsilon)`, where `r_i` is the weighted sum of the rules
/// and the scale is that of the group, the batch, or left out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SumThenNormalize {
    /// Which standard deviation divides. Default group.
    pub scale: Scale,
    /// Added to the standard deviation. Default 1e-4.
    pub epsilon: f64,
    /// How the unbiased variance is rounded. Default exact.
    pub bessel: Bessel,
}

impl Default for SumThenNormalize {
    fn default() -> Self {
        Self {
            scale: Scale::Group,
            epsilon: 1e-4,
            bessel: Bessel::Exact,
        }
    }
}

impl<F: Real> AdvantageEstimator<F> for SumThenNormalize {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        check_epsilon(self.epsilon)?;
        rewards.totals_into(out)?;
        let (epsilon, bessel, size) =
            (F::from_f64(self.epsilon), self.bessel, rewards.group_size());
        let scale = |moments: &Moments<F>| F::ONE / (moments.std + epsilon);
        match self.scale {
            Scale::Group => centre_and_scale(out, size, bessel, scale),
            Scale::Batch => {
                let batch = scale(&Moments::of(out, bessel));
                centre_and_scale(out, size, bessel, |_| batch);
            }
            Scale::None => centre_and_scale(out, size, bessel, |_| F::ONE),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advantages(scale: Scale) -> Vec<f64> {
        let table = RewardTable::new(&[1.0, 0.0, 3.0, 3.0], 1, 2).unwrap();
        SumThenNormalize {
            scale,
            ..Default::default()
        }
        .advantages(&table)
        .unwrap()
    }

    #[test]
    fn the_three_scales() {
        assert_eq!(advantages(Scale::None), [0.5, -0.5, 0.0, 0.0]);
        let group = 0.5 / (0.5f64.sqrt() + 1e-4);
        assert!((advantages(Scale::Group)[0] - group).abs() < 1e-15);
        let batch = 0.5 / (2.25f64.sqrt() + 1e-4);
        assert!((advantages(Scale::Batch)[0] - batch).abs() < 1e-15);
        assert_eq!(advantages(Scale::Batch)[2..], [0.0, 0.0]);
    }
}
