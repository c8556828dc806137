//! What the metrics of a step say of its groups.

use visrl_grpo::{GroupMetrics, RewardTable};
use visrl_reward::RewardSet;

use super::advantages::totals;
use super::scored_group::ScoredGroup;
use crate::error::Error;
use crate::log::StepMetrics;

/// Fills in the rewards, the lengths and the shares of groups that teach nothing, over all groups
/// of `size` completions that a step asked for.
pub(super) fn summarize(
    metrics: &mut StepMetrics,
    groups: &[&ScoredGroup],
    rewards: &RewardSet,
    size: usize,
) -> Result<(), Error> {
    let totals = totals(groups.iter().copied());
    let table = RewardTable::new(&totals, 1, size)?;
    metrics.record_groups(&GroupMetrics::new(&table, rewards.range()));
    let scores = || groups.iter().flat_map(|group| &group.scores);
    let mean = |sum: f64| sum / totals.len().max(1) as f64;
    let rules = rewards.names().enumerate();
    metrics.rewards = rules
        .map(|(rule, name)| {
            let scores = scores().filter_map(|scored| scored.scores[rule]);
            (name.to_owned(), mean(scores.map(f64::from).sum()))
        })
        .collect();
    let completions = || groups.iter().flat_map(|group| &group.group.completions);
    metrics.tokens = completions().map(|c| c.tokens.len()).sum();
    metrics.completion_length = mean(metrics.tokens as f64);
    let truncated = completions().filter(|c| c.stop.is_truncated()).count();
    metrics.truncated = mean(truncated as f64);
    Ok(())
}
