//! Completions as the rows that losses read.

use visrl_grpo::{LossBatch, Normalization, PolicyLoss};

use crate::LearnGroup;
use crate::rows::Place;

/// The counts of a whole batch, for its pieces; `entropies` are `[group][completion][token]`.
pub(crate) fn counts(
    loss: &dyn PolicyLoss<f32>,
    groups: &[LearnGroup],
    entropies: Option<Vec<Vec<Vec<f32>>>>,
) -> visrl_grpo::Result<Normalization> {
    let places: Vec<Place> = groups
        .iter()
        .enumerate()
        .flat_map(|(g, group)| {
            let completions = group.tokens.completions.iter().enumerate();
            completions.map(move |(i, ids)| (g, i, ids.len()))
        })
        .collect();
    let rows = Rows::new(&places, groups);
    // Counts do not depend on log-probabilities.
    let logps = vec![0.0; rows.ends.last().copied().unwrap_or(0)];
    let entropies: Option<Vec<f32>> =
        entropies.map(|all| all.into_iter().flatten().flatten().collect());
    let mut batch =
        LossBatch::new(&rows.ends, &logps, &rows.advantages).with_truncated(&rows.truncated);
    batch.entropies = entropies.as_deref();
    loss.normalization(&batch)
}

/// What a loss reads of each completion.
pub(crate) struct Rows {
    /// Where each row of tokens ends.
    pub(crate) ends: Vec<usize>,
    /// Of each row.
    pub(crate) advantages: Vec<f32>,
    /// Whether each row was cut at the length limit.
    pub(crate) truncated: Vec<bool>,
}

impl Rows {
    pub(crate) fn new(places: &[Place], groups: &[LearnGroup]) -> Self {
        let lengths = places.iter().map(|&(_, _, len)| len);
        let ends = lengths.scan(0, |end, len| {
            *end += len;
            Some(*end)
        });
        let advantages = places.iter().map(|&(g, i, _)| groups[g].advantages[i]);
        let truncated = places.iter().map(|&(g, i, _)| groups[g].truncated[i]);
        Self {
            ends: ends.collect(),
            advantages: advantages.collect(),
            truncated: truncated.collect(),
        }
    }
}
