use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::reward_rule::{RewardRule, verdict};
use crate::tags::only_thought_and_answer;
use crate::text::strip;

/// 1 if the thought ends up at the answer that is given, 0 if it ends up elsewhere.
///
/// A measure rather than a reward: the paper observes that thinking and answer tags sometimes
/// disagree and that such answers are less accurate. It ignores the label. With choices, the one
/// that the thought names last must be the answer (of two that end at the same place, the longer);
/// without, the thought must name the answer at all. Names count as whole words, whatever their
/// case.
///
/// `None` unless there is one thought and one answer that is not blank, and, with choices, unless
/// the thought names one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ThinkAnswerAgreement {}

impl RewardRule for ThinkAnswerAgreement {
    fn name(&self) -> &str {
        "think_answer_agreement"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let (thought, answer) = only_thought_and_answer(completion)?;
        let (thought, answer) = (thought.to_lowercase(), answer.to_lowercase());
        if answer.is_empty() {
            return None;
        }
        if example.choices.is_empty() {
            return verdict(last_mention(&thought, &answer).is_some());
        }
        let (_, choice) = example
            .choices
            .iter()
            .map(|choice| strip(choice).to_lowercase())
            .filter(|choice| !choice.is_empty())
            .filter_map(|choice| Some(((last_mention(&thought, &choice)?, choice.len()), choice)))
            .max_by_key(|(place, _)| *place)?;
        verdict(choice == answer)
    }
}

/// Where the last mention of `name` as a whole word ends.
fn last_mention(text: &str, name: &str) -> Option<usize> {
    let (first, last) = (name.chars().next()?, name.chars().next_back()?);
    text.rmatch_indices(name)
        .find(|(start, _)| {
            let before = text[..*start].chars().next_back();
            let after = text[start + name.len()..].chars().next();
            !before.is_some_and(|before| joins(before, first))
                && !after.is_some_and(|after| joins(last, after))
        })
        .map(|(start, _)| start + name.len())
}

/// Whether two neighbouring characters belong to one word. Scripts written without blanks (from
/// U+2E80 on: CJK, kana, Hangul) have no such words.
fn joins(a: char, b: char) -> bool {
    let in_word = |c: char| c.is_alphanumeric() && c < '\u{2e80}';
    in_word(a) && in_word(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::test_example::example;

    fn score(thought: &str, answer: &str, choices: &[&str]) -> Option<f32> {
        let text = format!("<think>{thought}</think><answer>{answer}</answer>");
        ThinkAnswerAgreement {}.score(&text, &example("anything", choices))
    }

    #[test]
    fn the_last_choice_named_must_be_the_answer() {
        let choices = ["Coat", "Raincoat", "Bag"];
        assert_eq!(score("A bag? No, a coat.", "Coat", &choices), Some(1.0));
        assert_eq!(score("A bag? No, a coat.", "Bag", &choices), Some(0.0));
        assert_eq!(score("Surely a raincoat", "Coat", &choices), Some(0.0));
        assert_eq!(score("Surely a raincoat", "raincoat", &choices), Some(1.0));
        assert_eq!(score("No idea", "Coat", &choices), None);
        assert_eq!(score("a dog", "dog", &["dog", "hot dog"]), Some(1.0));
        assert_eq!(score("a hot dog", "dog", &["dog", "hot dog"]), Some(0.0));
    }

    #[test]
    fn an_open_answer_must_be_named() {
        assert_eq!(score("It barks: a Pug!", "pug", &[]), Some(1.0));
        assert_eq!(score("Pugs bark", "pug", &[]), Some(0.0));
        assert_eq!(score("这是中国菜。", "中国菜", &[]), Some(1.0));
        assert_eq!(score("anything", " ", &[]), None);
    }

    #[test]
    fn it_takes_a_thought_and_an_answer() {
        let score = |text| ThinkAnswerAgreement {}.score(text, &example("x", &[]));
        assert_eq!(score("<answer>x</answer>"), None);
        assert_eq!(score("<think>x</think>x"), None);
    }
}
