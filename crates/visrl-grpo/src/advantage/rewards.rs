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
    /// [`Error::Groups`] when the completions do not divide into groups, [`Error::Length`] when
    /// the rewards do not divide into rules, [`Error::Config`] when there is no rule.
    pub fn new(rewards: &'a [F], rules: usize, group_size: usize) -> Result<Self> {
        Error::check_config(rules > 0, "rules", 0.0, "one or more")?;
        let completions = rewards.len() / rules;
        Error::check_length(
            "rewards",
            rewards.len(),
            completions * rules,
            "completion and rule",
        )?;
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
    /// [`Error::Length`] when there is not one weight per rule.
    pub fn with_weights(mut self, weights: &'a [F]) -> Result<Self> {
        Error::check_length("weights", weights.len(), self.rules, "rule")?;
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

    /// The weighted sum of a completion's rewards; NaN where no rule could score it.
    pub fn total(&self, completion: usize) -> F {
        let mut total = F::NAN;
        for rule in 0..self.rules {
            let reward = self.reward(completion, rule);
            if !reward.is_nan() {
                total = or_zero(total) + or_zero(reward * self.weight(rule));
            }
        }
        total
    }

    /// [`total`](Self::total) of each completion, `[completions]`.
    ///
    /// # Errors
    /// [`Error::Length`] when `out` has another length.
    pub fn totals_into(&self, out: &mut [F]) -> Result<()> {
        Error::check_length("out", out.len(), self.completions(), "completion")?;
        for (completion, total) in out.iter_mut().enumerate() {
            *total = self.total(completion);
        }
        Ok(())
    }

    /// The unweighted mean of what a rule gave the completions that it could score; 0 without any.
    pub fn rule_mean(&self, rule: usize) -> f64 {
        let rewards = (0..self.completions()).map(|completion| self.reward(completion, rule));
        let (mut sum, mut count) = (0.0, 0usize);
        for reward in rewards.filter(|reward| !reward.is_nan()) {
            sum += reward.to_f64();
            count += 1;
        }
        sum / count.max(1) as f64
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
            Err(Error::Length { .. })
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
        assert_eq!((table.rule_mean(0), table.rule_mean(1)), (0.75, 0.25));
    }
}
