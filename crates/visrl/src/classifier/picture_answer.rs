//! An answer about a picture.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a model says of a picture; as JSON, a line of a file of answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PictureAnswer {
    /// The picture's path, or its name.
    pub image: String,
    /// The answer: the choice that the completion means; where it means none, the most probable
    /// one; for an open question what was said. Nothing for a picture that cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
    /// The probability of the answer, 0 to 1: among the choices, or for an open question that of
    /// the completion's tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// The probability of each choice, given that the answer is one of them; after a thought, given
    /// the thought, too. None for an open question.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probabilities: BTreeMap<String, f64>,
    /// The thought, or the reason that follows an answer, where the completion holds one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thought: Option<String>,
    /// All that was said, greedily: what an evaluation judges.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion: Option<String>,
    /// Whether the completion was cut at the length limit.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub truncated: bool,
    /// What is wrong with a picture that cannot be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl PictureAnswer {
    /// The choices with their probabilities, the most probable first.
    pub fn ranked(&self) -> Vec<(&str, f64)> {
        let choices = self.probabilities.iter();
        let mut ranked: Vec<_> = choices.map(|(name, p)| (name.as_str(), *p)).collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }
}

/// The thought in a completion, or its reason: up to the end of the block, of the answer's begin, or
/// of the text where the block was cut.
pub(super) fn thought(completion: &str) -> Option<String> {
    let block = |open: &str, close: &str| {
        let (_, rest) = completion.split_once(open)?;
        let ends = [close, "<answer>"].into_iter();
        let end = ends.filter_map(|end| rest.find(end)).min();
        Some(rest[..end.unwrap_or(rest.len())].trim().to_owned())
    };
    block("<think>", "</think>").or_else(|| block("<reason>", "</reason>"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thought_is_found_also_where_it_was_cut() {
        let of = |text: &str| thought(text).unwrap();
        assert_eq!(of("<think> a bag </think><answer>bag</answer>"), "a bag");
        assert_eq!(of("<think>a b"), "a b");
        assert_eq!(of("<think>a <answer>b</answer>"), "a");
        assert_eq!(of("<answer>b</answer><reason>straps</reason>"), "straps");
        assert_eq!(thought("<answer>b</answer>"), None);
    }

    #[test]
    fn what_is_not_there_is_not_written() {
        let damaged = PictureAnswer {
            image: "a.png".into(),
            error: Some("is cut".into()),
            ..PictureAnswer::default()
        };
        let line = serde_json::to_string(&damaged).unwrap();
        assert_eq!(line, r#"{"image":"a.png","error":"is cut"}"#);
        assert_eq!(
            serde_json::from_str::<PictureAnswer>(&line).unwrap(),
            damaged
        );
    }

    #[test]
    fn choices_are_ranked_by_their_probability() {
        let probabilities = [("a", 0.2), ("b", 0.7), ("c", 0.1)];
        let answer = PictureAnswer {
            probabilities: probabilities.map(|(n, p)| (n.to_owned(), p)).into(),
            ..PictureAnswer::default()
        };
        assert_eq!(answer.ranked(), [("b", 0.7), ("a", 0.2), ("c", 0.1)]);
    }
}
