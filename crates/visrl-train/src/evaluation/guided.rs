//! Answers from the list: what a policy says when it may say nothing else.

use std::sync::Arc;

use visrl_core::{Example, Prompt};
use visrl_rollout::{GroupRequest, RolloutEngine, SamplingParams, TokenChoices};
use visrl_vlm::{ModelInput, Tokenizer};

use super::evaluator::Evaluator;
use super::result::Answer;
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

impl Evaluator {
    /// Fills in what answers are worth when they must be one of the choices.
    ///
    /// A greedy answer that is a choice would be the same under guidance: every token of it was the
    /// likeliest of all, so it is the likeliest of those that lead to a choice. Only the others are
    /// asked for again. Where answers stand in tags, what was said up to the answer's tag (all that
    /// was said, where there is none) stays, and the tag and a choice are put behind it; a thought
    /// that was cut is closed first.
    pub(super) fn guide(
        &self,
        engine: &mut dyn RolloutEngine,
        tokenizer: &Tokenizer,
        asked: &[(Arc<Prompt>, Arc<ModelInput>)],
        answers: &mut [Answer],
    ) -> Result<(), Error> {
        let (tag, end) = tag_parts(tokenizer);
        let mut requests = Vec::new();
        let mut places = Vec::new();
        let all = answers.iter_mut().zip(&self.examples).zip(asked);
        for (place, ((answer, example), (prompt, input))) in all.enumerate() {
            let names = candidates(example);
            if names.is_empty() {
                continue;
            }
            if answer.predicted.is_some() {
                answer.guided = Some(answer.right);
                continue;
            }
            let (said, input, texts) = match self.answer_in_tags {
                false => (String::new(), Arc::clone(input), names),
                true => {
                    let before = before_answer(&answer.completion);
                    let said = format!("{before}{}{tag}", closing(before));
                    let input = followed_by(input, &tokenizer.encode(&said)?);
                    let texts = names.iter().map(|name| format!("{end}{name}</answer>"));
                    (said, Arc::new(input), texts.collect())
                }
            };
            let choices = TokenChoices::new(tokenizer, &texts)?;
            let sampling = SamplingParams::greedy(choices.longest());
            places.push((place, said));
            requests.push(GroupRequest {
                sampling,
                choices: Some(Arc::new(choices)),
                ..GroupRequest::new(Arc::clone(prompt), input, self.stream)
            });
        }
        let groups = engine.generate(&requests)?;
        for (group, (place, said)) in groups.iter().zip(places) {
            let completion = group.completions.first();
            let text = completion.map_or("", |completion| completion.text.as_str());
            let text = format!("{said}{text}");
            answers[place].guided = Some(self.is_right(&text, &self.examples[place]));
        }
        Ok(())
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

    use super::*;

    fn example(choices: &[&str], label: &str) -> Example {
        Example {
            id: String::new(),
            image: ImageSource::path("none"),
            question: String::new(),
            choices: choices.iter().map(|&choice| choice.to_owned()).collect(),
            label: label.to_owned(),
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
