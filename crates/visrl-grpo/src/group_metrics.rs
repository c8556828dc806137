//! What the groups of a batch looked like, and whether they can teach anything.

use serde::{Deserialize, Serialize};

use crate::advantage::moments::{Bessel, Moments};
use crate::advantage::rewards::RewardTable;
use crate::diagnosis::Diagnosis;
use crate::real::Real;

/// Rewards that differ by no more than this are the same: sums of rules are rounded.
const TOLERANCE: f64 = 1e-6;

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
/// Rewards are totals (weighted sums over rules), and the same when they differ by at most 1e-6.
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
    /// Mean reward of scored completions; 0 without any.
    pub mean_reward: f64,
    /// Unbiased standard deviation of the rewards within a group, as a mean over the groups with
    /// at least two scored completions; 0 without any.
    pub std_reward: f64,
}

impl GroupMetrics {
    /// Looks at the groups of a reward table. `range` says which rewards are right and wrong: the
    /// largest and the smallest that the rules can give.
    pub fn new<F: Real>(rewards: &RewardTable<'_, F>, range: RewardRange) -> Self {
        let size = rewards.group_size();
        let totals: Vec<F> = (0..rewards.completions())
            .map(|c| rewards.total(c))
            .collect();
        let mut metrics = Self {
            group_size: size,
            ..Self::default()
        };
        let (mut sum, mut scored, mut std, mut stds) = (0.0, 0usize, 0.0, 0usize);
        for group in totals.chunks(size) {
            metrics.groups += 1;
            let values = || group.iter().filter(|v| !v.is_nan()).map(|v| v.to_f64());
            let count = values().count();
            metrics.unscorable += size - count;
            scored += count;
            sum += values().sum::<f64>();
            if count == 0 {
                metrics.unscored += 1;
                continue;
            }
            if count > 1 {
                std += Moments::of(group, Bessel::Exact).std.to_f64();
                stds += 1;
            }
            let all = |is: &dyn Fn(f64) -> bool| usize::from(count == size && values().all(is));
            metrics.all_right += all(&|v| v >= range.right - TOLERANCE);
            metrics.all_wrong += all(&|v| v <= range.wrong + TOLERANCE);
            metrics.zero_variance += usize::from(!has_variance(group));
        }
        metrics.mean_reward = sum / scored.max(1) as f64;
        metrics.std_reward = std / stds.max(1) as f64;
        metrics
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

    /// The metrics by name, for a metrics sink: `reward/mean`, `reward/std`, `groups/effective`
    /// (a number), and the fractions `groups/effective_fraction`, `groups/all_right`,
    /// `groups/all_wrong`, `groups/zero_variance`, `groups/unscored`.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> + use<> {
        let named = [
            ("reward/mean", self.mean_reward),
            ("reward/std", self.std_reward),
            ("groups/effective", self.effective() as f64),
            ("groups/effective_fraction", self.effective_fraction()),
            ("groups/all_right", self.all_right_fraction()),
            ("groups/all_wrong", self.all_wrong_fraction()),
            ("groups/zero_variance", self.zero_variance_fraction()),
            ("groups/unscored", self.fraction(self.unscored)),
        ];
        named.into_iter()
    }

    /// Why this batch can teach nothing; `None` when at least one group has an advantage.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        let groups = self.groups;
        Some(if self.effective() > 0 {
            return None;
        } else if groups == 0 {
            Diagnosis::NothingSampled
        } else if self.group_size < 2 {
            Diagnosis::SingleCompletions
        } else if self.unscored == groups {
            Diagnosis::Unscored {
                completions: self.unscorable,
            }
        } else if self.all_right == groups {
            Diagnosis::AllRight { groups }
        } else if self.all_wrong == groups {
            Diagnosis::AllWrong { groups }
        } else {
            Diagnosis::NoVariance {
                groups,
                all_right: self.all_right,
                all_wrong: self.all_wrong,
                unscored: self.unscored,
            }
        })
    }

    fn fraction(&self, count: usize) -> f64 {
        count as f64 / self.groups.max(1) as f64
    }
}

/// Whether the rewards of a group differ, so that something tells the better completion from the
/// worse. NaN, for a completion that could not be scored, takes no part.
pub fn has_variance<F: Real>(totals: &[F]) -> bool {
    let mut scored = totals.iter().map(|v| v.to_f64()).filter(|v| !v.is_nan());
    let first = scored.next();
    first.is_some_and(|first| scored.any(|v| (v - first).abs() > TOLERANCE))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metrics(rewards: &[f64], size: usize) -> GroupMetrics {
        let table = RewardTable::new(rewards, 1, size).unwrap();
        GroupMetrics::new(&table, RewardRange::default())
    }

    #[test]
    fn groups_are_counted_by_kind() {
        let nan = f64::NAN;
        let rewards = [1.0, 1.0, 0.0, 1e-7, 0.5, 0.5, 1.0, 0.0, nan, 1.0, nan, nan];
        let m = metrics(&rewards, 2);
        assert_eq!((m.groups, m.all_right, m.all_wrong), (6, 1, 1));
        assert_eq!((m.zero_variance, m.unscored, m.unscorable), (4, 1, 3));
        assert!((m.mean_reward - 5.0 / 9.0).abs() < 1e-7);
        assert!((m.std_reward - 0.5f64.sqrt() / 4.0).abs() < 1e-7);
        assert_eq!((m.effective(), m.diagnosis()), (1, None));
        let named: std::collections::BTreeMap<_, _> = m.named().collect();
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
        let groups = 1;
        let mixed = Diagnosis::NoVariance {
            groups: 2,
            all_right: 1,
            all_wrong: 1,
            unscored: 0,
        };
        for (rewards, size, expected) in [
            (vec![], 2, Diagnosis::NothingSampled),
            (vec![1.0, 0.0], 1, Diagnosis::SingleCompletions),
            (vec![nan, nan], 2, Diagnosis::Unscored { completions: 2 }),
            (vec![1.0, 1.0], 2, Diagnosis::AllRight { groups }),
            (vec![0.0, 0.0], 2, Diagnosis::AllWrong { groups }),
            (vec![0.0, 0.0, 1.0, 1.0], 2, mixed),
        ] {
            assert_eq!(metrics(&rewards, size).diagnosis(), Some(expected));
        }
    }
}
