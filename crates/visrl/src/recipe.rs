//! The paper's ways of fine-tuning.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_data::{Method, PromptTemplate, Wording};
use visrl_reward::{
    RewardRule, RewardSet,
    rules::{ExactCompletion, StrictTagAccuracy},
};

/// What a fine-tuning consists of beyond model, data and numbers: how examples are asked, what
/// answers are worth, and what counts as right when the result is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The recipe's name in files and tables.
    pub name: String,
    /// How the model is asked, in training and evaluation.
    pub template: PromptTemplate,
    /// What completions are worth in reinforcement learning.
    pub rewards: RewardSet,
    /// Whether an answer has to stand in `<answer>` tags to be right.
    pub tagged: bool,
}

impl Recipe {
    fn new(name: &str, method: Method, rewards: RewardSet) -> Self {
        let template = PromptTemplate::paper(method, Wording::Train);
        let tagged = method != Method::NoThinking;
        Self {
            name: name.to_owned(),
            template,
            rewards,
            tagged,
        }
    }

    /// No-Thinking-RL: answer directly; 1 for a completion equal to the label.
    pub fn no_thinking_rl() -> Self {
        Self::new(
            "no_thinking_rl",
            Method::NoThinking,
            RewardSet::no_thinking(),
        )
    }

    /// CLS-RL: think, then answer; accuracy and format.
    pub fn cls_rl() -> Self {
        Self::new("cls_rl", Method::Thinking, RewardSet::cls_rl())
    }

    /// Think-After-Answer: answer, then give reasons; accuracy and format.
    pub fn think_after_answer() -> Self {
        let rewards = RewardSet::think_after_answer();
        Self::new("think_after_answer", Method::ThinkAfterAnswer, rewards)
    }

    /// Adaptive-Thinking: the model chooses whether to think; accuracy and either format.
    pub fn adaptive() -> Self {
        Self::new("adaptive", Method::Adaptive, RewardSet::adaptive())
    }

    /// Supervised fine-tuning on the labels, asked as in No-Thinking-RL.
    pub fn sft() -> Self {
        Self::new("sft", Method::NoThinking, RewardSet::no_thinking())
    }

    /// The strict rule that decides what is right in evaluation: the tag's text, or the whole
    /// completion, must be the label.
    pub fn matcher(&self) -> Arc<dyn RewardRule> {
        match self.tagged {
            true => Arc::new(StrictTagAccuracy::default()),
            false => Arc::new(ExactCompletion::default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recipes_survive_a_file() {
        let recipes = [
            Recipe::no_thinking_rl(),
            Recipe::cls_rl(),
            Recipe::think_after_answer(),
            Recipe::adaptive(),
            Recipe::sft(),
        ];
        for recipe in recipes {
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
        }
    }
}
