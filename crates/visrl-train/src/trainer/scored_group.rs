use std::sync::Arc;

use visrl_core::Group;
use visrl_reward::Scored;
use visrl_vlm::ModelInput;

use crate::learner::LearnGroup;

/// A prompt's group with all that was found out about it.
#[derive(Clone, Debug)]
pub struct ScoredGroup {
    /// The prompt as the model reads it.
    pub input: Arc<ModelInput>,
    /// The prompt and its G completions.
    pub group: Group,
    /// What each completion is worth, `[G]`: the score of each rule, and the total.
    pub scores: Vec<Scored>,
    /// How each completion compares with the others, `[G]`. Nothing before the batch is whole: an
    /// estimator may look at all of its groups.
    pub advantages: Vec<f32>,
}

impl ScoredGroup {
    /// Whether all completions that could be scored are worth the same, so that nothing tells the
    /// better from the worse.
    pub fn is_even(&self) -> bool {
        let mut totals = self.scores.iter().filter_map(|scored| scored.total);
        let first = totals.next();
        totals.all(|total| Some(total) == first)
    }

    /// What the learner needs of it.
    pub(super) fn into_learn_group(self) -> LearnGroup {
        LearnGroup::sampled(self.input, self.group, self.advantages)
    }
}
