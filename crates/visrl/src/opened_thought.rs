//! Chat templates that begin the answer themselves, as those of Thinking checkpoints do.

use visrl_core::{Example, ImageSource};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use crate::error::Error;
use crate::recipe::Recipe;

/// What to warn of where the base's chat template ends a prompt with an open tag: completions do not
/// hold it.
pub(crate) fn opened_thought<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
) -> Result<Option<String>, Error> {
    let asked = Example {
        id: String::new(),
        image: ImageSource::path(""),
        question: String::new(),
        choices: Vec::new(),
        label: String::new(),
        row: Default::default(),
    };
    let messages = recipe.template.render(&asked).messages;
    let prompt = base.encoder.template().render(&messages, true, false)?;
    Ok(opened_tag(&prompt).map(|tag| {
        format!(
            "the chat template of {} ends each prompt with `{tag}`: completions do not hold the tag, \
             so that rules that ask for it never hold, and direct answers count as thoughts; take \
             the template of the Instruct checkpoint",
            base.name
        )
    }))
}

/// The tag that a prompt ends with, blanks aside, where it opens something.
fn opened_tag(prompt: &str) -> Option<&str> {
    let text = prompt.trim_end();
    let tag = &text[text.rfind('<')?..];
    let name = tag.strip_prefix('<')?.strip_suffix('>')?;
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
    is_name.then_some(tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_tag_at_the_end_is_found() {
        let prompt = "<|im_start|>assistant\n<think>\n";
        assert_eq!(opened_tag(prompt), Some("<think>"));
        for quiet in ["<|im_start|>assistant\n", "<think></think>\n", "a < b", ""] {
            assert_eq!(opened_tag(quiet), None, "{quiet}");
        }
    }
}
