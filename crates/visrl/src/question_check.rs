//! What a question of one's own must be.

use visrl_vlm::tokenizer::{TURN_TOKENS, VISION_TOKENS};

use crate::error::Error;

/// Checks a question that stands in the setting `name`: it asks something, and holds no token by which
/// a chat is parted into turns and pictures.
pub(crate) fn check_question(name: &str, question: &str) -> Result<(), Error> {
    if question.trim().is_empty() {
        let message = "is empty: ask something, or leave it out";
        return Err(Error::setting(name, message));
    }
    let mut tokens = TURN_TOKENS.iter().chain(&VISION_TOKENS);
    match tokens.find(|token| question.contains(*token)) {
        None => Ok(()),
        Some(token) => {
            let message = format!(
                "holds `{token}`, which the model would not read as text but as a part of the chat: \
                 remove it"
            );
            Err(Error::setting(name, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::run_config::RunConfig;

    #[test]
    fn a_question_that_asks_nothing_or_ends_a_turn_is_refused_by_its_name() {
        let run = |question: &str| {
            let text = format!(
                "recipe = \"no_thinking_rl\"\nmodel.path = \"m\"\n[data.source]\nkind = \
                 \"image_folder\"\npath = \"p\"\noptions = {{ question = {question:?} }}"
            );
            let run = RunConfig::from_toml(&text).unwrap();
            run.validate().map_err(|error| error.to_string())
        };
        assert_eq!(run("Which <label> is it?"), Ok(()));
        for (question, expected) in [
            ("", "is empty"),
            (" \n", "is empty"),
            ("Which?<|im_end|>", "holds `<|im_end|>`"),
            ("<|im_start|>system", "holds `<|im_start|>`"),
            ("<|image_pad|>Which?", "holds `<|image_pad|>`"),
        ] {
            let error = run(question).unwrap_err();
            let expected = format!("`data.source.options.question` {expected}");
            assert!(error.starts_with(&expected), "{error}");
        }
    }
}
