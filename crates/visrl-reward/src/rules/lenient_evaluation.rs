use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::matchers::{Contains, Matcher};
use crate::reward_rule::{RewardRule, verdict};
use crate::tags::evaluation_answer;

/// 1 if the answer contains the label, else 0: how the paper's evaluation counts.
///
/// The answer is the first `<answer>…</answer>`, over any number of lines, or the whole completion
/// when there is none or it is empty; it is compared by [`Contains`]. This is for figures beside
/// the paper's. As a training reward it pays for listing all choices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LenientEvaluation {}

impl RewardRule for LenientEvaluation {
    fn name(&self) -> &str {
        "lenient_evaluation"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        verdict(Contains.matches(evaluation_answer(completion), &example.label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::test_example::example;

    #[test]
    fn the_label_need_only_occur() {
        let example = example("american_bulldog", &[]);
        let score = |text| LenientEvaluation {}.score(text, &example);
        assert_eq!(score("<answer>\nAn American Bulldog.</answer>"), Some(1.0));
        assert_eq!(score("<answer></answer> american_bulldog"), Some(1.0));
        assert_eq!(score("<answer>pug</answer> american_bulldog"), Some(0.0));
        assert_eq!(score(""), Some(0.0));
    }
}
