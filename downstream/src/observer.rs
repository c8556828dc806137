//! An observer of one's own.

use visrl::train::{Error, Observer, ScoredGroup};

/// Keeps the best completion of each step, with its reward.
#[derive(Default)]
pub struct Best(pub Vec<(String, f32)>);

impl Observer for Best {
    fn groups_scored(&mut self, _: usize, groups: &[ScoredGroup]) -> Result<(), Error> {
        let answers = groups.iter().flat_map(|group| {
            let completions = group.group.completions.iter();
            completions.zip(&group.scores)
        });
        let rewards = answers.filter_map(|(completion, scored)| Some((completion, scored.total?)));
        let best = rewards.max_by(|(_, a), (_, b)| a.total_cmp(b));
        self.0
            .extend(best.map(|(completion, reward)| (completion.text.clone(), reward)));
        Ok(())
    }
}
