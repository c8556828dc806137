use serde::{Deserialize, Serialize};

use super::confusion::{ClassAccuracy, ConfusionMatrix};

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// The strict rule that decided what is right.
    pub matcher: String,
    /// Answers given.
    pub examples: usize,
    /// Share of answers that are right by the strict rule.
    pub accuracy: f64,
    /// The lenient rule: the paper's evaluation.
    pub lenient_matcher: String,
    /// Share of answers that are right by the lenient rule.
    pub lenient_accuracy: f64,
    /// Share of answers that are right by the strict rule when they must be one of the choices,
    /// of the examples with choices; nothing where none has any, and for sampled answers.
    #[serde(default)]
    pub guided_accuracy: Option<f64>,
    /// Mean number of tokens of a completion, end token included.
    pub completion_length: f64,
    /// Share of completions cut at the length limit.
    pub truncated: f64,
    /// How thoughts and answers fit together, where there are thoughts.
    pub agreement: Option<Agreement>,
    /// Accuracy by class, in the order in which labels were first met.
    pub classes: Vec<ClassAccuracy>,
    /// What was said for what.
    pub confusion: ConfusionMatrix,
    /// Seconds it took.
    pub seconds: f64,
    /// Every answer, in the order of the examples.
    #[serde(skip)]
    pub answers: Vec<Answer>,
}

/// One answer of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The example's id.
    pub id: String,
    /// What would have been right.
    pub label: String,
    /// What was said.
    pub completion: String,
    /// Tokens of the completion, end token included.
    pub tokens: usize,
    /// Whether the completion was cut at the length limit.
    pub truncated: bool,
    /// Whether it counts as right by the strict rule.
    pub right: bool,
    /// Whether it counts as right by the lenient rule.
    pub lenient: bool,
    /// Whether it is right by the strict rule when it must be one of the choices, where that was
    /// asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guided: Option<bool>,
    /// The choice that was meant, if it was one.
    pub predicted: Option<String>,
    /// Whether the thought ends up at the answer, where there is a thought.
    pub agrees: Option<bool>,
}

/// How often the thought ends up at the answer that is given, and what that is worth: the paper
/// finds answers less accurate that do not follow from their thoughts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Agreement {
    /// Answers with a thought and an answer to compare.
    pub compared: usize,
    /// Share of these in which the two agree.
    pub share: f64,
    /// Accuracy where they agree; nothing when they never do.
    pub accuracy_agreeing: Option<f64>,
    /// Accuracy where they do not; nothing when they always do.
    pub accuracy_other: Option<f64>,
}

impl Agreement {
    pub(super) fn new(answers: &[Answer]) -> Option<Self> {
        let of = |agrees: bool| answers.iter().filter(move |a| a.agrees == Some(agrees));
        let accuracy = |agrees: bool| {
            let count = of(agrees).count();
            let right = of(agrees).filter(|answer| answer.right).count();
            (count > 0).then(|| right as f64 / count as f64)
        };
        let (agreeing, other) = (of(true).count(), of(false).count());
        let compared = agreeing + other;
        (compared > 0).then(|| Self {
            compared,
            share: agreeing as f64 / compared as f64,
            accuracy_agreeing: accuracy(true),
            accuracy_other: accuracy(false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agreement_counts_only_what_can_be_compared() {
        let answer = |agrees, right| Answer {
            label: "a".into(),
            tokens: 1,
            right,
            lenient: right,
            agrees,
            ..Answer::default()
        };
        assert_eq!(Agreement::new(&[answer(None, true)]), None);
        let answers = [
            answer(Some(true), true),
            answer(Some(true), false),
            answer(Some(true), true),
            answer(Some(false), false),
            answer(None, true),
        ];
        let agreement = Agreement::new(&answers).unwrap();
        assert_eq!((agreement.compared, agreement.share), (4, 0.75));
        assert_eq!(agreement.accuracy_agreeing, Some(2.0 / 3.0));
        assert_eq!(agreement.accuracy_other, Some(0.0));
    }
}
