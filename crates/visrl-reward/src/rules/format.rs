use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::reward_rule::{RewardRule, verdict};
use crate::tags::{has_tags, is_answer, is_answer_reason, is_think_answer};

/// How often tags may occur in a completion of the right format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagUse {
    /// As the paper's regular expression has it: more tags may hide within the thought and the
    /// answer.
    #[default]
    Any,
    /// Each of the format's tags once and no other, so that a second answer costs the reward.
    Once,
}

const THINK_ANSWER: [[usize; 2]; 3] = [[1, 1], [1, 1], [0, 0]];
const ANSWER_REASON: [[usize; 2]; 3] = [[0, 0], [1, 1], [1, 1]];
const ANSWER: [[usize; 2]; 3] = [[0, 0], [1, 1], [0, 0]];

impl TagUse {
    fn allows(self, completion: &str, counts: [[usize; 2]; 3]) -> bool {
        self == Self::Any || has_tags(completion, counts)
    }
}

/// 1 if the whole completion is `<think>…</think>`, blanks, `<answer>…</answer>`, else 0: the
/// paper's format reward for thinking before answering.
///
/// The reference is the full match of `<think>.*?</think>\s*<answer>.*?</answer>` with DOTALL:
/// nothing may stand before or after, not even a line break.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThinkAnswerFormat {
    /// How often tags may occur.
    pub tags: TagUse,
}

impl RewardRule for ThinkAnswerFormat {
    fn name(&self) -> &str {
        "think_answer_format"
    }

    fn score(&self, completion: &str, _: &Example) -> Option<f32> {
        verdict(is_think_answer(completion) && self.tags.allows(completion, THINK_ANSWER))
    }
}

/// 1 if the whole completion is `<answer>…</answer>`, blanks, `<reason>…</reason>`, else 0: the
/// format reward of the paper's Think-After-Answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AnswerReasonFormat {
    /// How often tags may occur.
    pub tags: TagUse,
}

impl RewardRule for AnswerReasonFormat {
    fn name(&self) -> &str {
        "answer_reason_format"
    }

    fn score(&self, completion: &str, _: &Example) -> Option<f32> {
        verdict(is_answer_reason(completion) && self.tags.allows(completion, ANSWER_REASON))
    }
}

/// 1 if the whole completion is an answer alone or a thought and an answer, else 0: the format
/// reward of the paper's Adaptive-Thinking, whose prompt allows
/// (1) `<answer> ... </answer>` and (2) `<think> ... </think> <answer> ... </answer>`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdaptiveFormat {
    /// How often tags may occur.
    pub tags: TagUse,
}

impl RewardRule for AdaptiveFormat {
    fn name(&self) -> &str {
        "adaptive_format"
    }

    fn score(&self, completion: &str, _: &Example) -> Option<f32> {
        verdict(
            (is_answer(completion) && self.tags.allows(completion, ANSWER))
                || (is_think_answer(completion) && self.tags.allows(completion, THINK_ANSWER)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::test_example::example;

    #[test]
    fn once_refuses_hidden_tags() {
        let example = example("x", &[]);
        let clean = "<think>a</think>\n<answer>x</answer>";
        let hidden = "<think>a</think><answer>x</answer><answer>y</answer>";
        let score = |tags, text| ThinkAnswerFormat { tags }.score(text, &example);
        assert_eq!(score(TagUse::Any, clean), Some(1.0));
        assert_eq!(score(TagUse::Once, clean), Some(1.0));
        assert_eq!(score(TagUse::Any, hidden), Some(1.0));
        assert_eq!(score(TagUse::Once, hidden), Some(0.0));
    }

    #[test]
    fn each_format_knows_its_own() {
        let example = example("x", &[]);
        let texts = [
            "<think>a</think><answer>x</answer>",
            "<answer>x</answer>\n\n<reason>a</reason>",
            "<answer>x</answer>",
            "x",
        ];
        for tags in [TagUse::Any, TagUse::Once] {
            let scores = |rule: &dyn RewardRule| texts.map(|text| rule.score(text, &example));
            let [yes, no] = [Some(1.0), Some(0.0)];
            assert_eq!(scores(&ThinkAnswerFormat { tags }), [yes, no, no, no]);
            assert_eq!(scores(&AnswerReasonFormat { tags }), [no, yes, no, no]);
            assert_eq!(scores(&AdaptiveFormat { tags }), [yes, no, yes, no]);
        }
    }
}
