//! The scores of a batch of groups.

use crate::advantage::moments::or_zero;
use crate::error::{Error, Result};
use crate::real::Real;

/// The rewards of groups of completions: row-major `[completions, rules]`, where the completions
/// of a prompt stand next to each other, `group_size` of them.
///
/// NaN means that a rule could not score a completion. A completion that no rule could score is
/// *unscorable*: it takes no part in its group's statistics and gets advantage 0. Where some
/// rules scored, the others count as 0.
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
    /// [`Error::Groups`] when the completions do not divide into groups, [`Error::Length`] when
    /// the rewards do not divide into rules, [`Error::Config`] when there is no rule.
    pub fn new(rewards: &'a [F], rules: usize, group_size: usize) -> Result<Self> {
        Error::check(rules > 0, "rules", 0.0, "one or more")?;
        let completions = rewards.len() / rules;
        Error::check_length("rewards", rewards.len(), completions * rules)?;
        if group_size == 0 || !completions.is_multiple_of(group_size) {
            return Err(Error::Groups(completions, group_size));
        }
        Ok(Self { rewards, rules, group_size, weights: None })
    }

    /// Sets the weight of each rule, `[rules]`; without weights all are 1.
    ///
    /// # Errors
    /// [`Error::Length`] when there is not one weight per rule.
    pub fn with_weights(mut self, weights: &'a [F]) -> Result<Self> {
        Error::check_length("weights", weights.len(), self.rules)?;
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
        self.weights.map_or(F::ONE, |weights| weights[rule])
    }

    /// The weighted sum of each completion's rewards, `[completions]`; NaN where no rule could
    /// score it.
    pub fn totals(&self) -> impl ExactSizeIterator<Item = F> {
        (0..self.completions()).map(|completion| {
            let mut total = F::NAN;
            for rule in 0..self.rules {
                let reward = self.reward(completion, rule);
                if !reward.is_nan() {
                    total = or_zero(total) + or_zero(reward * self.weight(rule));
                }
            }
            total
        })
    }
}

#[cfg(test)]
#[test]
fn lengths_are_checked_and_only_unscorable_completions_are_nan() {
    let nan = f64::NAN;
    let rewards = [1.0, nan, nan, nan, 0.5, 0.25];
    let new = |count, rules, size| RewardTable::new(&rewards[..count], rules, size);
    assert!(matches!(new(6, 2, 2), Err(Error::Groups(3, 2))));
    assert!(matches!(new(5, 2, 1), Err(Error::Length { expected: 4, .. })));
    assert!(new(4, 0, 2).is_err() && new(4, 1, 0).is_err());
    let table = new(6, 2, 3).unwrap();
    assert!(table.with_weights(&[1.0]).is_err());
    let totals: Vec<f64> = table.totals().collect();
    assert_eq!((totals[0], totals[1].is_nan(), totals[2]), (1.0, true, 0.75));
}
