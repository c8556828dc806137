use serde::{Deserialize, Serialize};

/// What the model is told to write: the paper's four ways of asking.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// CLS-RL: reasoning in `<think>`, then the answer in `<answer>`.
    #[default]
    Thinking,
    /// No-Thinking-RL, and supervised fine-tuning: the bare answer.
    NoThinking,
    /// The answer in `<answer>`, then reasons in `<reason>`.
    ThinkAfterAnswer,
    /// The model decides whether to think before it answers.
    Adaptive,
}

impl Method {
    /// The four methods.
    pub const ALL: [Self; 4] = [
        Self::Thinking,
        Self::NoThinking,
        Self::ThinkAfterAnswer,
        Self::Adaptive,
    ];

    /// The sentence that follows the question.
    ///
    /// The reference evaluation has a wording of its own for [`Method::Thinking`] and
    /// [`Method::NoThinking`]; none is published for the other two, which keep the sentence they
    /// were trained with. No code is published for these two, so that what stands before their
    /// sentence ([`Wording::separator`]) is assumed to be that of the others; the paper's text
    /// prints a blank and, for Adaptive-Thinking, a stop before it.
    pub fn instruction(self, wording: Wording) -> &'static str {
        match (self, wording) {
            (Self::Thinking, Wording::Train | Wording::EvalBase) => {
                "Please output the thinking process in <think> </think> and final answer in \
                 <answer> </answer> tags."
            }
            (Self::Thinking, Wording::EvalNew) => {
                "First output the thinking process in <think> </think> and final answer in \
                 <answer> </answer> tags."
            }
            (Self::Thinking, Wording::CvBench) => {
                "Output the thinking process in <think> </think> and final answer in <answer> \
                 </answer> tags."
            }
            (Self::NoThinking, Wording::Train | Wording::CvBench) => {
                "Please directly output the answer."
            }
            (Self::NoThinking, Wording::EvalBase | Wording::EvalNew) => {
                "Please directly output the answer name."
            }
            (Self::ThinkAfterAnswer, _) => {
                "Please first output the answer in <answer> </answer> tags and then output a \
                 brief reasoning process in <reason> </reason> tags."
            }
            (Self::Adaptive, _) => {
                "Please first identify whether this problem requires intermediate thinking or \
                 calculation. If the problem requires thinking or calculation, output the \
                 thinking and calculation process inside <think> </think> tags and the final \
                 answer inside <answer> </answer> tags. If no thinking or calculation is \
                 required, directly output the final answer inside <answer> </answer> tags. Your \
                 output should follow one of two cases: (1) '<answer> ... </answer>', (2) \
                 '<think> ... </think> <answer> ... </answer>'."
            }
        }
    }
}

/// Where a prompt is used. The paper's training and evaluation programs word their prompts
/// differently; a comparison with its numbers has to take each at its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wording {
    /// Training.
    #[default]
    Train,
    /// Evaluation on base classes and of open questions.
    EvalBase,
    /// Evaluation on new classes, and on all of them after few-shot training.
    EvalNew,
    /// Evaluation on CV-Bench.
    CvBench,
}

impl Wording {
    /// All wordings.
    pub const ALL: [Self; 4] = [Self::Train, Self::EvalBase, Self::EvalNew, Self::CvBench];

    /// What stands between the question and the instruction.
    pub fn separator(self) -> &'static str {
        match self {
            Self::Train => "\n ",
            Self::EvalBase | Self::EvalNew => " ",
            Self::CvBench => "\n",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_configuration_files() {
        let names = serde_json::to_string(&Method::ALL).unwrap();
        assert_eq!(
            names,
            r#"["thinking","no_thinking","think_after_answer","adaptive"]"#
        );
        let names = serde_json::to_string(&Wording::ALL).unwrap();
        assert_eq!(names, r#"["train","eval_base","eval_new","cv_bench"]"#);
    }

    #[test]
    fn no_instruction_has_a_break_or_a_double_blank_inside() {
        for method in Method::ALL {
            for wording in Wording::ALL {
                let text = method.instruction(wording);
                assert!(!text.contains("  ") && !text.contains('\n'), "{text}");
                assert!(text.ends_with('.') && text.trim() == text);
            }
        }
    }
}
