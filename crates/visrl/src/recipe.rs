//! The paper's ways of fine-tuning.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_data::{Method, PromptTemplate, Wording};
use visrl_reward::{
    RewardRule, RewardSet,
    rules::{ExactCompletion, StrictTagAccuracy},
};
use visrl_train::Supervision;

/// How a recipe teaches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// By rewards: GRPO.
    #[default]
    Reinforce,
    /// By the labels: SFT. Rewards are not read.
    Supervise,
    /// By whole conversations that end with the label in `<answer>` tags: SFT as in the paper's
    /// program, whose loss counts the prompt, too. Rewards are not read.
    SuperviseConversation,
}

impl Objective {
    /// Whether it teaches by the labels.
    pub fn is_supervised(self) -> bool {
        self.supervision().is_some()
    }

    /// What is taught by the labels; nothing where rewards teach.
    pub fn supervision(self) -> Option<Supervision> {
        match self {
            Self::Reinforce => None,
            Self::Supervise => Some(Supervision::Label),
            Self::SuperviseConversation => Some(Supervision::Conversation),
        }
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
    /// How the model is asked in training, and in evaluation if that says nothing else.
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

    /// Supervised fine-tuning as the paper's program has it, for comparison: its system turn, the
    /// text before the image, nothing after the question, the label in `<answer>` tags, and a loss
    /// on all tokens but those of the image.
    pub fn sft_reference() -> Self {
        let system = "Output the thinking process in <think> </think> and final answer in <answer> \
                      </answer> tags.";
        let template = PromptTemplate::no_instruction().with_text_first();
        Self {
            name: "sft_reference".to_owned(),
            objective: Objective::SuperviseConversation,
            template: template.with_system(system),
            rewards: RewardSet::cls_rl(),
            answer_in_tags: true,
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
        let all = Self::all().into_iter().chain([Self::sft_reference()]);
        all.into_iter().find(|recipe| recipe.name == name)
    }

    /// The paper's method by which the recipe asks, if it asks in training as one of them.
    pub fn method(&self) -> Option<Method> {
        let asks = |method: &Method| {
            let listed = PromptTemplate::paper(*method, Wording::Train);
            let spelled = PromptTemplate::multiple_choice(*method, Wording::CvBench);
            let without = listed.clone().without_list();
            [listed, without, spelled].contains(&self.template)
        };
        Method::ALL.into_iter().find(asks)
    }

    /// Whether completions hold more than the answer, so that they need room.
    pub fn is_wordy(&self) -> bool {
        self.answer_in_tags
    }

    /// The same recipe, asked as the paper asks CV-Bench, whose questions list their options
    /// themselves. One that is none of the paper's stays as it is.
    pub fn for_cv_bench(mut self) -> Self {
        if let Some(method) = self.method() {
            self.template = PromptTemplate::multiple_choice(method, Wording::CvBench);
        }
        self
    }

    /// The same recipe as the paper trains on SAT, whose questions list their options themselves:
    /// no list, and for CLS-RL the rewards of its SAT program, [`RewardSet::sat`].
    pub fn for_sat(mut self) -> Self {
        if self.rewards == RewardSet::cls_rl() {
            self.rewards = RewardSet::sat();
        }
        self.name += "_sat";
        self.template = self.template.without_list();
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
        for recipe in Recipe::all().into_iter().chain([Recipe::sft_reference()]) {
            assert_eq!(Recipe::named(&recipe.name).as_ref(), Some(&recipe));
            let json = serde_json::to_string(&recipe).unwrap();
            assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe);
            let older = json.replace("answer_in_tags", "tagged");
            assert_eq!(serde_json::from_str::<Recipe>(&older).unwrap(), recipe);
        }
    }

    #[test]
    fn the_method_is_told_by_what_is_asked() {
        let methods = Recipe::all().map(|recipe| recipe.method());
        let [thinking, direct] = [Method::Thinking, Method::NoThinking].map(Some);
        let [after, adaptive] = [Method::ThinkAfterAnswer, Method::Adaptive].map(Some);
        assert_eq!(methods, [direct, thinking, after, adaptive, direct]);
        for recipe in Recipe::all() {
            assert_eq!(recipe.clone().for_sat().method(), recipe.method());
            assert_eq!(recipe.clone().for_cv_bench().method(), recipe.method());
        }
        assert_eq!(Recipe::sft_reference().method(), None);
    }

    #[test]
    fn sat_is_rewarded_by_the_case() {
        let names = |recipe: Recipe| {
            recipe
                .rewards
                .names()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let sat = Recipe::cls_rl().for_sat();
        assert_eq!(sat.name, "cls_rl_sat");
        assert_eq!(names(sat), ["sat_accuracy", "think_answer_format"]);
        assert_eq!(
            names(Recipe::no_thinking_rl().for_sat()),
            ["exact_completion"]
        );
    }
}
