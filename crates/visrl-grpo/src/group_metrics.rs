//! What the groups of a batch looked like, and whether they can teach anything.

use crate::advantage::moments::{Bessel, Moments};
use crate::advantage::reward_table::RewardTable;
use crate::diagnosis::Diagnosis;
use crate::real::Real;

/// Rewards that differ by no more than this are the same: sums of rules are rounded.
const TOLERANCE: f64 = 1e-6;

/// What the groups of a batch looked like.
///
/// A group whose completions all score the same costs a full sampling round and teaches nothing.
/// Rewards are totals (weighted sums over rules), and the same when they differ by at most 1e-6.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct GroupMetrics {
    /// Groups.
    pub groups: usize,
    /// Completions per group.
    pub group_size: usize,
    /// Groups in which every completion is right.
    pub all_right: usize,
    /// Groups in which every completion is wrong.
    pub all_wrong: usize,
    /// Groups with scored completions that all have the same reward.
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
    /// Looks at the groups of a reward table. A completion is wrong at the `least` reward that the
    /// rules can give, and right at the `greatest`.
    pub fn new<F: Real>(rewards: &RewardTable<'_, F>, (least, greatest): (F, F)) -> Self {
        let totals: Vec<F> = rewards.totals().collect();
        let right = |v: &F| v.to_f64() >= greatest.to_f64() - TOLERANCE;
        let wrong = |v: &F| v.to_f64() <= least.to_f64() + TOLERANCE;
        let (mut metrics, mut sum, mut scored, mut stds) = (Self::default(), 0.0, 0, 0);
        metrics.group_size = rewards.group_size();
        for group in totals.chunks(rewards.group_size()) {
            let moments = Moments::of(group, Bessel::Exact);
            metrics.groups += 1;
            metrics.unscorable += group.len() - moments.count;
            scored += moments.count;
            let std = moments.std.to_f64();
            if moments.count > 0 {
                sum += moments.mean.to_f64() * moments.count as f64;
                metrics.zero_variance += usize::from(std.is_nan() || std <= TOLERANCE);
            }
            if moments.count > 1 {
                metrics.std_reward += std;
                stds += 1;
            }
            metrics.unscored += usize::from(moments.count == 0);
            metrics.all_right += usize::from(group.iter().all(right));
            metrics.all_wrong += usize::from(group.iter().all(wrong));
        }
        metrics.mean_reward = sum / scored.max(1) as f64;
        metrics.std_reward /= f64::from(stds.max(1));
        metrics
    }

    /// Groups that have an advantage: those whose scored completions differ.
    pub fn effective(&self) -> usize {
        self.groups.saturating_sub(self.zero_variance + self.unscored)
    }

    /// So many groups as a fraction of all.
    pub fn fraction(&self, groups: usize) -> f64 {
        groups as f64 / self.groups.max(1) as f64
    }

    /// Why this batch can teach nothing; `None` when at least one group has an advantage.
    pub fn diagnosis(&self) -> Option<Diagnosis> {
        let (groups, all_right, all_wrong) = (self.groups, self.all_right, self.all_wrong);
        let unscored = self.unscored;
        match groups {
            _ if self.effective() > 0 => None,
            0 => Some(Diagnosis::NothingSampled),
            _ if self.group_size < 2 => Some(Diagnosis::SingleCompletions),
            _ if unscored == groups => Some(Diagnosis::Unscored(self.unscorable)),
            _ if all_right == groups => Some(Diagnosis::AllRight(groups)),
            _ if all_wrong == groups => Some(Diagnosis::AllWrong(groups)),
            _ => Some(Diagnosis::NoVariance { groups, all_right, all_wrong, unscored }),
        }
    }
}

#[cfg(test)]
#[test]
fn groups_are_counted_by_kind_and_a_useless_batch_says_why() {
    let nan = f64::NAN;
    let metrics = |rewards: &[f64], size| {
        GroupMetrics::new(&RewardTable::new(rewards, 1, size).unwrap(), (0.0, 1.0))
    };
    let m = metrics(&[1.0, 1.0, 0.0, 1e-7, 0.5, 0.5, 1.0, 0.0, nan, 1.0, nan, nan], 2);
    assert_eq!((m.groups, m.all_right, m.all_wrong, m.effective()), (6, 1, 1, 1));
    assert_eq!((m.zero_variance, m.unscored, m.unscorable), (4, 1, 3));
    assert!((m.mean_reward - 5.0 / 9.0).abs() < 1e-7);
    assert!((m.std_reward - 0.5f64.sqrt() / 4.0).abs() < 1e-7);
    assert_eq!((m.fraction(m.zero_variance), m.diagnosis()), (4.0 / 6.0, None));
    let why = |rewards: &[f64], size| metrics(rewards, size).diagnosis().unwrap();
    assert_eq!(why(&[], 2), Diagnosis::NothingSampled);
    assert_eq!(why(&[1.0, 0.0], 1), Diagnosis::SingleCompletions);
    assert_eq!(why(&[nan; 2], 2), Diagnosis::Unscored(2));
    assert_eq!(why(&[1.0, 1.0], 2), Diagnosis::AllRight(1));
    assert_eq!(why(&[0.0, 0.0], 2), Diagnosis::AllWrong(1));
    let even = why(&[0.0, 0.0, 1.0, 1.0], 2).to_string();
    assert!(even.contains("the same (1 entirely right, 1 entirely wrong"), "{even}");
}
