//! The estimators by name.

use serde::{Deserialize, Serialize};

use crate::advantage::estimator::AdvantageEstimator;
use crate::advantage::leave_one_out::LeaveOneOut;
use crate::advantage::mean_only::MeanOnly;
use crate::advantage::normalize_then_sum::NormalizeThenSum;
use crate::advantage::paper::Paper;
use crate::advantage::rewards::RewardTable;
use crate::advantage::sum_then_normalize::SumThenNormalize;
use crate::error::Result;
use crate::real::Real;

/// The advantage estimators, tagged by `"type"` in configuration files. The default is the
/// paper's.
///
/// ```
/// use visrl_grpo::{Advantage, AdvantageEstimator, RewardTable};
/// let rule: Advantage = serde_json::from_str(r#"{"type": "mean_only"}"#).unwrap();
/// let table = RewardTable::new(&[1.0, 0.0, 0.0, 1.0f32], 1, 2).unwrap();
/// assert_eq!(rule.advantages(&table).unwrap(), [0.5, -0.5, -0.5, 0.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Advantage {
    /// [`Paper`]: scaled by the group's unbiased standard deviation plus 1e-4. The default.
    Paper(Paper),
    /// [`SumThenNormalize`]: scaled by group, by batch, or not.
    SumThenNormalize(SumThenNormalize),
    /// [`NormalizeThenSum`]: every rule normalized for itself.
    NormalizeThenSum(NormalizeThenSum),
    /// [`LeaveOneOut`]: RLOO.
    LeaveOneOut(LeaveOneOut),
    /// [`MeanOnly`]: Dr. GRPO.
    MeanOnly(MeanOnly),
}

impl Default for Advantage {
    fn default() -> Self {
        Self::Paper(Paper::default())
    }
}

impl<F: Real> AdvantageEstimator<F> for Advantage {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        match self {
            Self::Paper(e) => e.advantages_into(rewards, out),
            Self::SumThenNormalize(e) => e.advantages_into(rewards, out),
            Self::NormalizeThenSum(e) => e.advantages_into(rewards, out),
            Self::LeaveOneOut(e) => e.advantages_into(rewards, out),
            Self::MeanOnly(e) => e.advantages_into(rewards, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::advantage::sum_then_normalize::Scale;

    fn all() -> Vec<Advantage> {
        let scaled = |scale| {
            Advantage::SumThenNormalize(SumThenNormalize {
                scale,
                ..Default::default()
            })
        };
        vec![
            Advantage::default(),
            scaled(Scale::Group),
            scaled(Scale::Batch),
            scaled(Scale::None),
            Advantage::NormalizeThenSum(NormalizeThenSum::default()),
            Advantage::LeaveOneOut(LeaveOneOut {}),
            Advantage::MeanOnly(MeanOnly {}),
        ]
    }

    #[test]
    fn every_estimator_goes_through_json() {
        for advantage in all() {
            let json = serde_json::to_string(&advantage).unwrap();
            assert_eq!(
                serde_json::from_str::<Advantage>(&json).unwrap(),
                advantage,
                "{json}"
            );
        }
        assert!(serde_json::from_str::<Advantage>(r#"{"type":"paper","eps":1}"#).is_err());
    }

    #[test]
    fn corner_cases_are_the_same_for_all() {
        let nan = f64::NAN;
        // equal rewards; one scored; none scored; one unscored among different ones
        let rewards = [0.3, 0.3, 0.3, 2.0, nan, nan, nan, nan, nan, 1.0, nan, 0.0];
        for advantage in all() {
            let table = RewardTable::new(&rewards, 1, 3).unwrap();
            let a = advantage.advantages(&table).unwrap();
            assert!(a[..9].iter().all(|v| *v == 0.0), "{advantage:?} {a:?}");
            assert!(
                a[9] > 0.0 && a[10] == 0.0 && a[11] < 0.0,
                "{advantage:?} {a:?}"
            );
            let single = RewardTable::new(&rewards[..1], 1, 1).unwrap();
            assert_eq!(
                advantage.advantages(&single).unwrap(),
                [0.0],
                "{advantage:?}"
            );
        }
    }
}
