//! An answer from a list: which choice a text means, and a prompt behind which only a choice is left.

use std::sync::Arc;

use visrl_core::Example;
use visrl_reward::RewardRule;
use visrl_rollout::TokenChoices;
use visrl_vlm::{ModelInput, Tokenizer};

use crate::error::Error;

/// The tag before an answer.
const TAG: &str = "<answer>";

/// The tag before an answer in two: what is put behind a thought, and what stands before a name in
/// the list. Where the tag is a token, all of it is put there; elsewhere its last sign is left to
/// the list, for the tokenizer may join it with the name.
fn tag_parts(tokenizer: &Tokenizer) -> (&'static str, &'static str) {
    match tokenizer.token_id(TAG) {
        Some(_) => (TAG, ""),
        None => TAG.split_at(TAG.len() - 1),
    }
}

/// What an answer to an example may be: its choices; or their letters where the label is one, as
/// CV-Bench's are; nothing for an open question.
pub(super) fn candidates(example: &Example) -> Vec<String> {
    if example.choices.contains(&example.label) {
        return example.choices.clone();
    }
    let letters = ('A'..='Z').map(|letter| format!("({letter})"));
    let letters: Vec<String> = letters.take(example.choices.len()).collect();
    match letters.contains(&example.label) {
        true => letters,
        false => example.choices.clone(),
    }
}

/// The choice of an example that a rule takes a completion for: the one that would be right if it
/// were the label, whatever the label is.
pub fn meant_choice(rule: &dyn RewardRule, completion: &str, example: &Example) -> Option<String> {
    let mut asked = example.clone();
    candidates(example).into_iter().find(|choice| {
        asked.label.clone_from(choice);
        let score = rule.score(completion, &asked);
        score.is_some_and(|score| score >= 1.0)
    })
}

/// A prompt with what is said before the answer, and the choices that may follow.
#[derive(Clone, Debug)]
pub struct BegunAnswer {
    /// What is said: nothing, or the thought of a completion and the answer's tag.
    pub said: String,
    /// The prompt with it.
    pub input: Arc<ModelInput>,
    /// The choices that may follow it, in the order of the names.
    pub choices: TokenChoices,
}

impl BegunAnswer {
    /// Where the completion is nothing but the answer: a choice follows the prompt.
    ///
    /// # Errors
    /// [`Error::Rollout`] for no names, or one that has no tokens.
    pub fn direct(
        tokenizer: &Tokenizer,
        input: &Arc<ModelInput>,
        names: &[String],
    ) -> Result<Self, Error> {
        Ok(Self {
            said: String::new(),
            input: Arc::clone(input),
            choices: TokenChoices::new(tokenizer, names)?,
        })
    }

    /// Where the answer stands in tags: what a completion said up to the answer's tag (all of it,
    /// where there is none) stays, and the tag and a choice are put behind it; a thought that was
    /// cut is closed first.
    ///
    /// # Errors
    /// As [`direct`](Self::direct); [`Error::Model`] for what the tokenizer says.
    pub fn in_tags(
        tokenizer: &Tokenizer,
        input: &ModelInput,
        completion: &str,
        names: &[String],
    ) -> Result<Self, Error> {
        let (tag, end) = tag_parts(tokenizer);
        let before = before_answer(completion);
        let said = format!("{before}{}{tag}", closing(before));
        let input = followed_by(input, &tokenizer.encode(&said)?);
        let texts: Vec<_> = names
            .iter()
            .map(|name| format!("{end}{name}</answer>"))
            .collect();
        Ok(Self {
            said,
            input: Arc::new(input),
            choices: TokenChoices::new(tokenizer, &texts)?,
        })
    }
}

/// What stands before the last opened answer; everything when none was opened.
fn before_answer(completion: &str) -> &str {
    completion
        .rfind("<answer>")
        .map_or(completion, |at| &completion[..at])
}

/// What closes a block that is still open at the end of a text; nothing where none is.
fn closing(text: &str) -> &'static str {
    let open = |tag: &str, end: &str| match (text.rfind(tag), text.rfind(end)) {
        (Some(tag), Some(end)) => tag > end,
        (tag, _) => tag.is_some(),
    };
    match (open("<think>", "</think>"), open("<reason>", "</reason>")) {
        (true, _) => "</think> ",
        (false, true) => "</reason> ",
        (false, false) => "",
    }
}

/// A prompt with tokens of an answer that is already begun.
fn followed_by(input: &ModelInput, tokens: &[u32]) -> ModelInput {
    let mut input = input.clone();
    for &token in tokens {
        input.ids.push(token);
        input.positions.ids.push([input.positions.next; 3]);
        input.positions.next += 1;
    }
    input
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;
    use visrl_reward::rules::ExactCompletion;

    use super::*;

    fn example(choices: &[&str], label: &str) -> Example {
        Example {
            id: String::new(),
            image: ImageSource::path("none"),
            question: String::new(),
            choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
            label: label.to_owned(),
            row: Default::default(),
        }
    }

    #[test]
    fn answers_are_choices_or_their_letters() {
        let of = |choices: &[&str], label| candidates(&example(choices, label));
        assert_eq!(of(&["coat", "bag"], "bag"), ["coat", "bag"]);
        assert_eq!(of(&["3", "2", "1"], "(C)"), ["(A)", "(B)", "(C)"]);
        assert_eq!(of(&["3", "2"], "(C)"), ["3", "2"]);
        assert!(of(&[], "bag").is_empty());
    }

    #[test]
    fn a_choice_is_meant_whatever_the_label() {
        let asked = example(&["coat", "bag"], "");
        let meant = |said: &str| meant_choice(&ExactCompletion::default(), said, &asked);
        assert_eq!(meant("bag").as_deref(), Some("bag"));
        assert_eq!(meant("a bag"), None);
    }

    #[test]
    fn a_tag_that_is_a_token_is_not_parted() {
        let base = "../../assets/base/tokenizer.json";
        let text = std::fs::read_to_string(base).unwrap();
        let plain = Tokenizer::from_json(&text).unwrap();
        assert_eq!(tag_parts(&plain), ("<answer", ">"));
        let mut json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let tokens = json["added_tokens"].as_array_mut().unwrap();
        tokens.push(serde_json::json!({
            "id": 5000, "content": "<answer>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true,
        }));
        let with_tag = Tokenizer::from_json(&json.to_string()).unwrap();
        assert_eq!(tag_parts(&with_tag), ("<answer>", ""));
    }

    #[test]
    fn a_thought_that_was_cut_is_closed() {
        assert_eq!(closing("<think> a grey"), "</think> ");
        assert_eq!(closing("<think>a</think> b"), "");
        assert_eq!(closing("<think>a</think> <reason>b"), "</reason> ");
        assert_eq!(closing("a"), "");
    }

    #[test]
    fn the_thought_stays_and_the_answer_goes() {
        let thought = "<think>a</think>";
        for said in ["<answer>nothing</answer>", "<answer>", ""] {
            assert_eq!(before_answer(&format!("{thought}{said}")), thought);
        }
    }
}
