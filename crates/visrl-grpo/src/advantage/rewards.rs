//! The scores of a batch of groups.

use std::ops::Range;

use crate::error::{Error, Result};
use crate::lanes::vectorized;
use crate::real::Real;

/// The rewards of groups of completions: row-major `[completions, rules]`, where the completions
/// of a prompt stand next to each other, `group_size` of them.
///
/// NaN means that a rule could not score a completion. A completion that no rule could score is
/// *unscorable*: it takes no part in its group's statistics and gets advantage 0. Where some
/// rules scored, the others count as 0.
///
/// ```
/// use visrl_grpo::RewardTable;
/// # fn main() -> Result<(), visrl_grpo::Error> {
/// // two completions, scored for accuracy and for format
/// let table = RewardTable::new(&[1.0, 1.0, 0.0, 1.0f32], 2, 2)?.with_weights(&[1.0, 0.5])?;
/// let mut totals = [0.0; 2];
/// table.totals_into(&mut totals)?;
/// assert_eq!(totals, [1.5, 0.5]);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct RewardTable<'a, F> {
    rewards: &'a [F],
    rules: usize,
    group_size: usize,
    weights: Option<&'a [F]>,
}

impl<'a, F: Real> RewardTable<'a, F> {
    /// A table of `rewards`, `[completions, rules]`.
    ///
    /// # Errors
    /// [`Error::Groups`] when the completions do not divide into groups, [`Error::Shape`] when
    /// the rewards do not divide into rules, [`Error::Config`] when there is no rule.
    pub fn new(rewards: &'a [F], rules: usize, group_size: usize) -> Result<Self> {
        Error::check_config(rules > 0, "rules", 0.0, "one or more")?;
        let completions = rewards.len() / rules;
        Error::check_shape("rewards", rewards.len(), completions, rules)?;
        if group_size == 0 || !completions.is_multiple_of(group_size) {
            return Err(Error::Groups {
                completions,
                group_size,
            });
        }
        Ok(Self {
            rewards,
            rules,
            group_size,
            weights: None,
        })
    }

    /// Sets the weight of each rule, `[rules]`; without weights all are 1.
    ///
    /// # Errors
    /// [`Error::Shape`] when there is not one weight per rule.
    pub fn with_weights(mut self, weights: &'a [F]) -> Result<Self> {
        Error::check_shape("weights", weights.len(), 1, self.rules)?;
        self.weights = Some(weights);
        Ok(self)
    }

    /// Number of completions.
    pub fn completions(&self) -> usize {
        self.rewards.len() / self.rules
    }

    /// Number of rules.
    pub fn rules(&self) -> usize {
        self.rules
    }

    /// Completions per group.
    pub fn group_size(&self) -> usize {
        self.group_size
    }

    /// The reward that a rule gave a completion.
    pub fn reward(&self, completion: usize, rule: usize) -> F {
        self.rewards[completion * self.rules + rule]
    }

    /// The weight of a rule.
    pub fn weight(&self, rule: usize) -> F {
        self.weights.map_or(F::ONE, |w| w[rule])
    }

    /// The weighted sum of each completion's rewards, `[completions]`; NaN where no rule could
    /// score it.
    ///
    /// # Errors
    /// [`Error::Shape`] when `out` has another length.
    pub fn totals_into(&self, out: &mut [F]) -> Result<()> {
        Error::check_shape("out", out.len(), self.completions(), 1)?;
        self.totals(out);
        Ok(())
    }

    /// [`totals_into`](Self::totals_into) a buffer of the right length.
    pub(super) fn totals(&self, out: &mut [F]) {
        vectorized(
            #[inline(always)]
            || self.add_up(out),
        );
    }

    #[inline(always)]
    fn add_up(&self, out: &mut [F]) {
        if self.rules == 1 {
            let weight = self.weight(0);
            for (total, reward) in out.iter_mut().zip(self.rewards) {
                let part = *reward * weight;
                let scored = if part.is_nan() { F::ZERO } else { part };
                *total = if reward.is_nan() { *reward } else { scored };
            }
            return;
        }
        for (total, rewards) in out.iter_mut().zip(self.rewards.chunks_exact(self.rules)) {
            let (mut sum, mut scored) = (F::ZERO, false);
            for (rule, reward) in rewards.iter().enumerate() {
                scored |= !reward.is_nan();
                let part = *reward * self.weight(rule);
                sum += if part.is_nan() { F::ZERO } else { part };
            }
            *total = if scored { sum } else { F::NAN };
        }
    }

    /// The table of some of its completions.
    pub(super) fn cut(&self, completions: Range<usize>) -> Self {
        let at = completions.start * self.rules..completions.end * self.rules;
        Self {
            rewards: &self.rewards[at],
            ..*self
        }
    }

    /// What a rule gave each completion; `room` has a place for each where there are several rules.
    pub(super) fn column<'b>(&self, rule: usize, room: &'b mut [F]) -> &'b [F]
    where
        'a: 'b,
    {
        if self.rules == 1 {
            return self.rewards;
        }
        let rewards = self.rewards[rule..].iter().step_by(self.rules);
        for (value, reward) in room.iter_mut().zip(rewards) {
            *value = *reward;
        }
        room
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_checked() {
        assert!(matches!(
            RewardTable::new(&[0.0f32; 6], 2, 2),
            Err(Error::Groups {
                completions: 3,
                group_size: 2
            })
        ));
        assert!(matches!(
            RewardTable::new(&[0.0f32; 5], 2, 1),
            Err(Error::Shape { .. })
        ));
        assert!(RewardTable::new(&[0.0f32; 4], 0, 2).is_err());
        assert!(RewardTable::new(&[0.0f32; 4], 1, 0).is_err());
        let table = RewardTable::new(&[0.0f32; 4], 2, 2).unwrap();
        assert!(table.with_weights(&[1.0]).is_err());
        assert!(table.totals_into(&mut [0.0; 3]).is_err());
    }

    #[test]
    fn only_unscorable_completions_are_nan() {
        let nan = f64::NAN;
        let rewards = [1.0, nan, nan, nan, 0.5, 0.25];
        let table = RewardTable::new(&rewards, 2, 3).unwrap();
        let mut totals = [0.0; 3];
        table.totals_into(&mut totals).unwrap();
        assert_eq!((totals[0], totals[2]), (1.0, 0.75));
        assert!(totals[1].is_nan());
    }
}
