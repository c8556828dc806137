//! The paper's ways of fine-tuning.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_data::{Method, PromptTemplate, Wording};
use visrl_reward::{
    RewardRule, RewardSet,
    rules::{ExactCompletion, StrictTagAccuracy},
};

/// How a recipe teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// By rewards: GRPO.
    #[default]
    Reinforce,
    /// By the labels: SFT. Rewards are not read.
    Supervise,
}

impl Objective {
    /// Whether it teaches by the labels.
    pub fn is_supervised(self) -> bool {
        self == Self::Supervise
    }
}

/// What a fine-tuning consists of beyond model, data and numbers: how examples are asked, what
/// answers are worth, and what counts as right when the result is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The recipe's name in files and tables.
    pub name: String,
    /// How it teaches.
    #[serde(default)]
    pub objective: Objective,
    /// How the model is asked, in training and evaluation.
    pub template: PromptTemplate,
    /// What completions are worth in reinforcement learning.
    pub rewards: RewardSet,
    /// Whether an answer has to stand in `<answer>` tags to be right.
    #[serde(alias = "tagged")]
    pub answer_in_tags: bool,
}

impl Recipe {
    fn new(name: &str, method: Method, rewards: RewardSet) -> Self {
        let template = PromptTemplate::paper(method, Wording::Train);
        let answer_in_tags = method != Method::NoThinking;
        Self {
            name: name.to_owned(),
            objective: Objective::Reinforce,
            template,
            rewards,
            answer_in_tags,
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
        let rewards = RewardSet::no_thinking();
        Self {
            objective: Objective::Supervise,
            ..Self::new("sft", Method::NoThinking, rewards)
        }
    }

    /// The paper's recipes, in the order of its tables.
    pub fn all() -> [Self; 5] {
        [
            Self::sft(),
            Self::cls_rl(),
            Self::think_after_answer(),
            Self::adaptive(),
            Self::no_thinking_rl(),
        ]
    }

    /// The recipe of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|recipe| recipe.name == name)
    }

    /// Whether completions hold more than the answer, so that they need room.
    pub fn is_wordy(&self) -> bool {
        self.answer_in_tags
    }

    /// The same recipe, asked as the paper asks CV-Bench, whose questions list their options
    /// themselves. One that is none of the paper's stays as it is.
    pub fn for_cv_bench(mut self) -> Self {
        let method = match self.name.as_str() {
            "cls_rl" => Method::Thinking,
            "think_after_answer" => Method::ThinkAfterAnswer,
            "adaptive" => Method::Adaptive,
            "no_thinking_rl" | "sft" => Method::NoThinking,
            _ => return self,
        };
        self.template = PromptTemplate::multiple_choice(method, Wording::CvBench);
        self
    }

    /// The strict rule that decides what is right in evaluation: the tag's text, or the whole
    /// completion, must be the label.
    pub fn strict_rule(&self) -> Arc<dyn RewardRule> {
        match self.answer_in_tags {
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
        for recipe in Recipe::all() {
            assert_eq!(Recipe::named(&recipe.name).as_ref(), Some(&recipe));
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            let older = json.replace("answer_in_tags", "tagged");
            assert_eq!(serde_json::from_str::<Recipe>(&older).unwrap(), recipe);
        }
    }
}
