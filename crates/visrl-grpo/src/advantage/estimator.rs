//! The advantage estimators and their formulas.

use serde::{Deserialize, Serialize};

use crate::advantage::moments::{Bessel, Moments, centre_and_scale, or_zero};
use crate::advantage::reward_table::RewardTable;
use crate::error::{Error, Result};
use crate::real::Real;

/// Turns the rewards of groups into advantages.
///
/// Every estimator agrees on the corner cases: a group whose rewards are all equal gets exactly
/// 0; so does a completion that could not be scored, and a group in which fewer than two
/// completions were scored, so also every group of size 1.
pub trait AdvantageEstimator<F: Real>: Send + Sync {
    /// Writes the advantage of each completion, `[completions]`.
    ///
    /// # Errors
    /// [`Error::Length`] when `out` has another length, [`Error::Config`] for a configuration
    /// value outside its range.
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()>;

    /// The advantage of each completion, in a fresh buffer.
    ///
    /// # Errors
    /// As [`advantages_into`](Self::advantages_into).
    fn advantages(&self, rewards: &RewardTable<'_, F>) -> Result<Vec<F>> {
        let mut out = vec![F::ZERO; rewards.completions()];
        self.advantages_into(rewards, &mut out)?;
        Ok(out)
    }
}

/// The advantage estimators, tagged by `"type"` in configuration files. `r` is the reward of a
/// completion (the weighted sum of the rules), `mean` and `std` are its group's, unbiased.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Advantage {
    /// `(r - mean) / (std + epsilon)`: GRPO (arXiv 2402.03300, section 4.1) as the paper
    /// (arXiv 2503.16188) computes it. The default.
    Paper {
        /// Added to the standard deviation. Default 1e-4.
        #[serde(default = "epsilon")]
        epsilon: f64,
    },
    /// `(r - mean) / (std + epsilon)`, where the scale is that of the group, of the batch, or left
    /// out.
    SumThenNormalize {
        /// Which standard deviation divides. Default group.
        #[serde(default)]
        scale: Scale,
        /// Added to the standard deviation. Default 1e-4.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// How the unbiased variance is rounded. Default exact.
        #[serde(default)]
        bessel: Bessel,
    },
    /// GDPO (arXiv 2601.05242): each rule is normalized within the group, their weighted sum once
    /// more over the batch. Rules of different spread then weigh as their weights say.
    NormalizeThenSum {
        /// Added to every standard deviation. Default 1e-4.
        #[serde(default = "epsilon")]
        epsilon: f64,
        /// How the unbiased variance is rounded. Default exact.
        #[serde(default)]
        bessel: Bessel,
    },
    /// RLOO (arXiv 2402.14740): `r - mean of the others = n / (n - 1) (r - mean)` with the `n`
    /// scored completions of the group, so that the gradient is unbiased.
    LeaveOneOut {},
    /// `r - mean`: Dr. GRPO (arXiv 2503.20783), because dividing by the standard deviation favours
    /// questions that are almost always or almost never solved.
    MeanOnly {},
}

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
    /// None: rewards are only centred (Dr. GRPO).
    None,
}

fn epsilon() -> f64 {
    1e-4
}

impl Default for Advantage {
    fn default() -> Self {
        Self::Paper { epsilon: epsilon() }
    }
}

impl Advantage {
    /// Checks the values.
    ///
    /// # Errors
    /// [`Error::Config`] when epsilon is not a number above 0.
    pub fn validate(&self) -> Result<()> {
        let epsilon = match *self {
            Self::Paper { epsilon }
            | Self::SumThenNormalize { epsilon, .. }
            | Self::NormalizeThenSum { epsilon, .. } => epsilon,
            Self::LeaveOneOut {} | Self::MeanOnly {} => return Ok(()),
        };
        Error::check(epsilon > 0.0 && epsilon.is_finite(), "epsilon", epsilon, "above zero")
    }
}

impl<F: Real> AdvantageEstimator<F> for Advantage {
    fn advantages_into(&self, rewards: &RewardTable<'_, F>, out: &mut [F]) -> Result<()> {
        let (scale, epsilon, bessel) = match *self {
            Self::Paper { epsilon } => (Scale::Group, epsilon, Bessel::Exact),
            Self::SumThenNormalize { scale, epsilon, bessel } => (scale, epsilon, bessel),
            Self::NormalizeThenSum { epsilon, bessel } => (Scale::Batch, epsilon, bessel),
            Self::LeaveOneOut {} | Self::MeanOnly {} => (Scale::None, epsilon(), Bessel::Exact),
        };
        self.validate()?;
        Error::check_length("out", out.len(), rewards.completions())?;
        out.iter_mut().zip(rewards.totals()).for_each(|(out, total)| *out = total);
        let size = rewards.group_size();
        let inverse = |moments: &Moments<F>| F::ONE / (moments.std + F::from_f64(epsilon));
        match (self, scale) {
            (Self::NormalizeThenSum { .. }, _) => {
                normalized_rules(rewards, out, bessel, inverse);
                centre_and_scale(out, out.len().max(1), bessel, inverse);
            }
            (Self::LeaveOneOut {}, _) => centre_and_scale(out, size, bessel, |moments| {
                let n = moments.count as f64;
                F::from_f64(n / (n - 1.0).max(1.0))
            }),
            (_, Scale::Group) => centre_and_scale(out, size, bessel, inverse),
            (_, Scale::None) => centre_and_scale(out, size, bessel, |_| F::ONE),
            (_, Scale::Batch) => {
                let batch = inverse(&Moments::of(out, bessel));
                centre_and_scale(out, size, bessel, |_| batch);
            }
        }
        Ok(())
    }
}

/// The weighted sum of the rules' rewards, each normalized within its group; NaN where no rule
/// could score.
fn normalized_rules<F: Real>(
    rewards: &RewardTable<'_, F>,
    out: &mut [F],
    bessel: Bessel,
    scale: impl Fn(&Moments<F>) -> F,
) {
    out.fill(F::NAN);
    let mut normalized = vec![F::ZERO; out.len()];
    for rule in 0..rewards.rules() {
        for (completion, value) in normalized.iter_mut().enumerate() {
            *value = rewards.reward(completion, rule);
        }
        centre_and_scale(&mut normalized, rewards.group_size(), bessel, &scale);
        for (completion, sum) in out.iter_mut().enumerate() {
            if !rewards.reward(completion, rule).is_nan() {
                let part = normalized[completion] * rewards.weight(rule);
                *sum = or_zero(*sum) + or_zero(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str, rewards: &[f64], rules: usize, size: usize) -> Vec<f64> {
        let estimator: Advantage = serde_json::from_str(text).unwrap();
        let table = RewardTable::new(rewards, rules, size).unwrap();
        estimator.advantages(&table).unwrap()
    }

    const ALL: [&str; 7] = [
        r#"{"type":"paper"}"#,
        r#"{"type":"sum_then_normalize"}"#,
        r#"{"type":"sum_then_normalize","scale":"batch"}"#,
        r#"{"type":"sum_then_normalize","scale":"none"}"#,
        r#"{"type":"normalize_then_sum","bessel":"single"}"#,
        r#"{"type":"leave_one_out"}"#,
        r#"{"type":"mean_only"}"#,
    ];

    #[test]
    fn by_hand() {
        let nan = f64::NAN;
        let paper = of(ALL[0], &[1.0, 0.0, 0.0, 0.0], 1, 4);
        assert!((paper[0] - 0.75 / 0.5001).abs() < 1e-15);
        assert_eq!(of(ALL[5], &[1.0, 0.0, 2.0, nan], 1, 4), [0.0, -1.5, 1.5, 0.0]);
        assert_eq!(of(ALL[6], &[1.0, 0.0, 7.0, nan], 1, 2), [0.5, -0.5, 0.0, 0.0]);
        // Rules of different spread weigh the same.
        let a = of(ALL[4], &[100.0, 0.0, 0.0, 1.0, 0.0, 0.0, 100.0, 1.0], 2, 4);
        assert!((a[0] - a[1]).abs() < 1e-3 && a[3] > 1.0 && a[2] < -1.0, "{a:?}");
        assert!(serde_json::from_str::<Advantage>(r#"{"type":"paper","eps":1}"#).is_err());
        let table = RewardTable::new(&[1.0f32], 1, 1).unwrap();
        assert!(Advantage::Paper { epsilon: 0.0 }.advantages(&table).is_err());
    }

    #[test]
    fn corner_cases_are_the_same_for_all() {
        let nan = f64::NAN;
        // Equal rewards; one scored; none scored; one unscored among different ones.
        let rewards = [0.3, 0.3, 0.3, 2.0, nan, nan, nan, nan, nan, 1.0, nan, 0.0];
        for text in ALL {
            let a = of(text, &rewards, 1, 3);
            assert!(a[..9].iter().all(|v| *v == 0.0), "{text} {a:?}");
            assert!(a[9] > 0.0 && a[10] == 0.0 && a[11] < 0.0, "{text} {a:?}");
            assert_eq!(of(text, &rewards[..1], 1, 1), [0.0], "{text}");
            assert!(of(text, &[], 1, 2).is_empty(), "{text}");
        }
    }
}
