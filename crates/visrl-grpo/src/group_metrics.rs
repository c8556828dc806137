//! Whether a batch of groups can teach anything.

use serde::{Deserialize, Serialize};

use crate::advantage::RewardTable;
use crate::error::{Error, Result};
use crate::real::Real;

/// The rewards that count as entirely wrong and entirely right, both inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RewardRange {
    /// A total at or below this is wrong. Default 0.
    pub wrong: f64,
    /// A total at or above this is right. Default 1: one rule that gives 0 or 1.
    pub right: f64,
}

impl Default for RewardRange {
    fn default() -> Self {
        Self {
            wrong: 0.0,
            right: 1.0,
        }
    }
}

/// What the groups of a batch looked like.
///
/// A group whose completions all score the same has no advantage: it costs a full sampling round
/// and teaches nothing. These numbers say how many such groups there are, and of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupMetrics {
    /// Groups.
    pub groups: usize,
    /// Completions per group.
    pub group_size: usize,
    /// Groups in which every completion is right (a subset of those without variance unless
    /// rewards exceed the range).
    pub all_right: usize,
    /// Groups in which every completion is wrong.
    pub all_wrong: usize,
    /// Groups with at least one scored completion whose scored completions all have the same
    /// reward.
    pub zero_variance: usize,
    /// Groups without any scored completion.
    pub unscored: usize,
    /// Completions that no rule could score.
    pub unscorable: usize,
    /// Mean total reward of scored completions; 0 without any.
    pub mean_reward: f64,
}

impl GroupMetrics {
    /// Looks at the groups of a reward table; totals are the weighted sums over rules.
    ///
    /// # Errors
    /// [`Error::Config`] when the range is empty or not a number.
    pub fn new<F: Real>(rewards: &RewardTable<'_, F>, range: RewardRange) -> Result<Self> {
        let ordered = range.right > range.wrong;
        Error::check_config(ordered, "right", range.right, "greater than `wrong`")?;
        let size = rewards.group_size();
        let mut totals = vec![F::ZERO; rewards.completions()];
        rewards.totals_into(&mut totals)?;
        let mut metrics = Self {
            group_size: size,
            ..Self::default()
        };
        let mut sum = 0.0;
        let mut scored = 0usize;
        for group in totals.chunks(size) {
            metrics.groups += 1;
            let values = || group.iter().filter(|v| !v.is_nan()).map(|v| v.to_f64());
            let count = values().count();
            metrics.unscorable += size - count;
            scored += count;
            sum += values().sum::<f64>();
            let Some(first) = values().next() else {
                metrics.unscored += 1;
                continue;
            };
            metrics.zero_variance += usize::from(values().all(|v| v == first));
            metrics.all_right += usize::from(count == size && values().all(|v| v >= range.right));
            metrics.all_wrong += usize::from(count == size && values().all(|v| v <= range.wrong));
        }
        metrics.mean_reward = sum / scored.max(1) as f64;
        Ok(metrics)
    }

    /// Groups that have an advantage: those whose scored completions differ.
    pub fn effective(&self) -> usize {
        self.groups
            .saturating_sub(self.zero_variance + self.unscored)
    }

    /// Fraction of groups that have an advantage.
    pub fn effective_fraction(&self) -> f64 {
        self.fraction(self.effective())
    }

    /// Fraction of groups in which every completion is right.
    pub fn all_right_fraction(&self) -> f64 {
        self.fraction(self.all_right)
    }

    /// Fraction of groups in which every completion is wrong.
    pub fn all_wrong_fraction(&self) -> f64 {
        self.fraction(self.all_wrong)
    }

    /// Fraction of groups without any difference.
    pub fn zero_variance_fraction(&self) -> f64 {
        self.fraction(self.zero_variance)
    }

    /// The metrics by name, for a metrics sink.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        vec![
            ("reward/mean", self.mean_reward),
            ("groups/effective", self.effective() as f64),
            ("groups/effective_fraction", self.effective_fraction()),
            ("groups/all_right", self.all_right_fraction()),
            ("groups/all_wrong", self.all_wrong_fraction()),
            ("groups/zero_variance", self.zero_variance_fraction()),
            ("groups/unscored", self.fraction(self.unscored)),
        ]
    }

    /// In plain language, why this batch can teach nothing and what to do about it; `None` when
    /// at least one group has an advantage.
    pub fn diagnosis(&self) -> Option<String> {
        if self.effective() > 0 {
            return None;
        }
        Some(if self.groups == 0 {
            "the batch has no groups: nothing was sampled".to_owned()
        } else if self.group_size < 2 {
            "a group of one completion has nothing to be compared with: sample at least two \
             completions per prompt"
                .to_owned()
        } else if self.unscored == self.groups {
            format!(
                "none of the {} completions could be scored: check the reward rules and the labels",
                self.unscorable
            )
        } else if self.all_right == self.groups {
            format!(
                "all {} groups are entirely right: the examples are too easy for this policy, \
                 so use harder ones, or resample until a group has both right and wrong",
                self.groups
            )
        } else if self.all_wrong == self.groups {
            format!(
                "all {} groups are entirely wrong: look at a few completions and at the matcher, \
                 sample more completions per prompt, or start from easier examples",
                self.groups
            )
        } else {
            format!(
                "in each of the {} groups all completions score the same ({} entirely right, {} \
                 entirely wrong, {} not scored): if the completions themselves are identical, \
                 check that sampling is not greedy (temperature, top-k); otherwise sample more \
                 completions per prompt or resample such groups",
                self.groups, self.all_right, self.all_wrong, self.unscored
            )
        })
    }

    fn fraction(&self, count: usize) -> f64 {
        count as f64 / self.groups.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(rewards: &[f64], size: usize) -> GroupMetrics {
        let table = RewardTable::new(rewards, 1, size).unwrap();
        GroupMetrics::new(&table, RewardRange::default()).unwrap()
    }

    #[test]
    fn groups_are_counted_by_kind() {
        let nan = f64::NAN;
        let m = metrics(
            &[1.0, 1.0, 0.0, 0.0, 0.5, 0.5, 1.0, 0.0, nan, 1.0, nan, nan],
            2,
        );
        assert_eq!((m.groups, m.all_right, m.all_wrong), (6, 1, 1));
        assert_eq!(
            (m.zero_variance, m.unscored, m.unscorable, m.effective()),
            (4, 1, 3, 1)
        );
        assert_eq!(m.mean_reward, 5.0 / 9.0);
        assert_eq!(m.all_right_fraction(), 1.0 / 6.0);
        assert_eq!(m.diagnosis(), None);
        let named: std::collections::BTreeMap<_, _> = m.named().into_iter().collect();
        assert_eq!(named["groups/effective"], 1.0);
        assert_eq!(named["groups/effective_fraction"], 1.0 / 6.0);
        assert_eq!(named["groups/zero_variance"], 4.0 / 6.0);
        assert_eq!(
            (named["groups/all_right"], named["groups/unscored"]),
            (1.0 / 6.0, 1.0 / 6.0)
        );
    }

    #[test]
    fn a_useless_batch_says_why() {
        let nan = f64::NAN;
        for (rewards, size, words) in [
            (vec![], 2, "no groups"),
            (vec![1.0, 0.0], 1, "nothing to be compared with"),
            (vec![nan, nan], 2, "could be scored"),
            (vec![1.0, 1.0], 2, "entirely right"),
            (vec![0.0, 0.0], 2, "entirely wrong: look"),
            (
                vec![0.0, 0.0, 1.0, 1.0],
                2,
                "score the same (1 entirely right, 1 entirely wrong",
            ),
        ] {
            let text = metrics(&rewards, size).diagnosis().unwrap();
            assert!(text.contains(words), "{text}");
        }
    }

    #[test]
    fn an_empty_range_is_refused() {
        let table = RewardTable::new(&[1.0f32], 1, 1).unwrap();
        assert!(
            GroupMetrics::new(
                &table,
                RewardRange {
                    wrong: 1.0,
                    right: 1.0
                }
            )
            .is_err()
        );
    }
}
