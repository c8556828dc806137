//! From scores to advantages.

use visrl_grpo::{Advantage, AdvantageEstimator, RewardTable};
use visrl_reward::RewardSet;

use super::scored_group::ScoredGroup;
use crate::error::Error;

/// The totals of all completions, `[groups * G]`; NaN, which is how visrl-grpo writes it, for one
/// that no rule could judge.
pub(super) fn totals<'a>(groups: impl IntoIterator<Item = &'a ScoredGroup>) -> Vec<f32> {
    let scores = groups.into_iter().flat_map(|group| &group.scores);
    scores
        .map(|scored| scored.total.unwrap_or(f32::NAN))
        .collect()
}

/// Sets the advantages of groups of `size` completions.
///
/// The reward set weighs its rules once, in the totals. An estimator that normalizes each rule for
/// itself sees their own scores instead, and weighs these after that.
pub(super) fn set_advantages(
    estimator: &Advantage,
    rewards: &RewardSet,
    groups: &mut [ScoredGroup],
    size: usize,
) -> Result<(), Error> {
    let advantages = if matches!(estimator, Advantage::NormalizeThenSum { .. }) {
        let rules = rewards.rules();
        let scores = groups.iter().flat_map(|group| &group.scores);
        let scores: Vec<f32> = scores
            .flat_map(|scored| scored.scores.iter().map(|score| score.unwrap_or(f32::NAN)))
            .collect();
        let weights: Vec<f32> = rules.iter().map(|rule| rule.weight).collect();
        let table = RewardTable::new(&scores, rules.len(), size)?;
        estimator.advantages(&table.with_weights(&weights)?)?
    } else {
        estimator.advantages(&RewardTable::new(&totals(&*groups), 1, size)?)?
    };
    for (group, advantages) in groups.iter_mut().zip(advantages.chunks(size)) {
        group.advantages = advantages.to_vec();
    }
    Ok(())
}
