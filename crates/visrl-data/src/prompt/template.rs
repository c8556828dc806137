use std::fmt::Write;

use serde::{Deserialize, Serialize};
use visrl_core::{Content, Example, Message, Prompt, Role};

use crate::error::Error;
use crate::prompt::method::{Method, Wording};
use crate::prompt::parts::{append, trimmed};

/// Turns an [`Example`] into a [`Prompt`]: one user turn, image first, then the text (or the other
/// way round, see [`with_text_first`](PromptTemplate::with_text_first)).
///
/// The text has two forms, one for examples with choices and one for open questions. The fields
/// `{question}` and `{choices}` are filled in; `{{` and `}}` stand for single braces. It serialises
/// as its texts, so a user's own template is a piece of configuration:
///
/// ```
/// use visrl_core::{Example, ImageSource};
/// use visrl_data::PromptTemplate;
///
/// let json = r#"{"closed": "{question} Pick one: {choices}.", "open": "{question}"}"#;
/// let template: PromptTemplate = serde_json::from_str(json)?;
/// let example = Example {
///     id: "1".into(),
///     image: ImageSource::path("1.png"),
///     question: "Which fruit?".into(),
///     choices: vec!["apple".into(), "pear".into()],
///     label: "pear".into(),
///     row: Default::default(),
/// };
/// assert_eq!(template.text(&example), "Which fruit? Pick one: apple, pear.");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "TemplateText", into = "TemplateText")]
pub struct PromptTemplate {
    text: TemplateText,
    closed: Vec<Piece>,
    open: Vec<Piece>,
}

impl PromptTemplate {
    /// The prompt of one of the paper's methods.
    pub fn paper(method: Method, wording: Wording) -> Self {
        let instruction = method.instruction(wording);
        Self::ending(&format!("{}{instruction}", wording.separator()))
    }

    /// The paper's question and list with nothing after them: how its evaluation of CV-Bench asks
    /// without an instruction.
    pub fn no_instruction() -> Self {
        Self::ending("")
    }

    /// The paper's question and list with these words after them.
    fn ending(end: &str) -> Self {
        let closed_start = vec![
            Piece::Question,
            Piece::Literal("\nPlease choose one from list [ ".into()),
            Piece::Choices,
        ];
        let closed = closed_start
            .into_iter()
            .chain([Piece::Literal(format!("].{end}"))])
            .collect();
        let mut open = vec![Piece::Question];
        if !end.is_empty() {
            open.push(Piece::Literal(end.to_owned()));
        }
        let text = TemplateText {
            closed: unparse(&closed),
            open: unparse(&open),
            separator: default_separator(),
            system: None,
            text_first: false,
        };
        Self { text, closed, open }
    }

    /// The prompt of one of the paper's methods for questions that spell out their options
    /// themselves, such as CV-Bench's: the choices are not listed again.
    pub fn multiple_choice(method: Method, wording: Wording) -> Self {
        Self::paper(method, wording).without_list()
    }

    /// The same for questions that spell out their options themselves: choices are not listed.
    #[must_use]
    pub fn without_list(mut self) -> Self {
        self.closed = self.open.clone();
        self.text.closed = self.text.open.clone();
        self
    }

    /// Whether an example's choices are listed.
    pub fn lists_choices(&self) -> bool {
        self.closed.contains(&Piece::Choices)
    }

    /// A template of one's own: the text with choices and the text without.
    ///
    /// # Errors
    ///
    /// [`Error::Template`] for a mark `<image>`, an unknown field, a brace without its partner, or
    /// a field `{choices}` in the open text.
    pub fn new(closed: impl Into<String>, open: impl Into<String>) -> Result<Self, Error> {
        let text = TemplateText {
            closed: closed.into(),
            open: open.into(),
            separator: default_separator(),
            system: None,
            text_first: false,
        };
        Self::try_from(text)
    }

    /// Puts a system turn first. Without one, the model's chat template may add its own.
    pub fn with_system(mut self, system: impl Into<String>) -> Self {
        self.text.system = Some(system.into());
        self
    }

    /// Puts the text before the image in the user turn, as the paper's program for supervised
    /// fine-tuning does.
    pub fn with_text_first(mut self) -> Self {
        self.text.text_first = true;
        self
    }

    /// What stands between two choices; the paper's is a comma and a blank.
    pub fn with_separator(mut self, separator: impl Into<String>) -> Self {
        self.text.separator = separator.into();
        self
    }

    /// The text of the user turn.
    pub fn text(&self, example: &Example) -> String {
        let question = Content::Text(example.question.clone());
        let filled = self.filled(example, &[question]).into_iter();
        let texts = filled.filter_map(|part| match part {
            Content::Text(text) => Some(text),
            Content::Image(_) => None,
        });
        texts.collect()
    }

    /// The template with a question, which may have images within its text, and the choices filled
    /// in.
    fn filled(&self, example: &Example, question: &[Content]) -> Vec<Content> {
        let pieces = match example.choices.is_empty() {
            true => &self.open,
            false => &self.closed,
        };
        let mut filled = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Literal(literal) => append(&mut filled, Content::Text(literal.clone())),
                Piece::Question => {
                    let parts = question.iter().cloned();
                    parts.for_each(|part| append(&mut filled, part));
                }
                Piece::Choices => {
                    let list = example.choices.join(&self.text.separator);
                    append(&mut filled, Content::Text(list));
                }
            }
        }
        filled
    }

    /// The prompt; it carries the example's id. Images of a question that has its own places for
    /// them ([`Layout`](visrl_core::Layout)) stand there; those in front of it stand before the
    /// whole text. A system turn of the example goes before that of the template.
    pub fn render(&self, example: &Example) -> Prompt {
        let layout = example.row.layout.as_deref();
        let own = layout.filter(|layout| !layout.parts.is_empty());
        let (mut shown, mut text) = match own {
            Some(layout) => self.laid_out(example, &layout.parts),
            None => (
                vec![Content::Image(example.image.clone())],
                vec![Content::Text(self.text(example))],
            ),
        };
        if self.text.text_first {
            std::mem::swap(&mut shown, &mut text);
        }
        shown.append(&mut text);
        let system = layout.and_then(|layout| layout.system.as_ref());
        let system = system.or(self.text.system.as_ref());
        let system = system.map(|text| Message {
            role: Role::System,
            content: vec![Content::Text(text.clone())],
        });
        let user = Message {
            role: Role::User,
            content: shown,
        };
        Prompt {
            id: example.id.clone(),
            messages: system.into_iter().chain([user]).collect(),
        }
    }

    /// The images in front of a question, and the text with the others at their places.
    fn laid_out(&self, example: &Example, parts: &[Content]) -> (Vec<Content>, Vec<Content>) {
        let is_image = |part: &&Content| matches!(part, Content::Image(_));
        let front = parts.iter().take_while(is_image).count();
        let (front, parts) = parts.split_at(front);
        let mut question = trimmed(parts, front.is_empty() || parts.len() == 1);
        if question.is_empty() {
            question.push(Content::Text(example.question.clone()));
        }
        (front.to_vec(), self.filled(example, &question))
    }
}

impl Default for PromptTemplate {
    /// CLS-RL's training prompt.
    fn default() -> Self {
        Self::paper(Method::default(), Wording::default())
    }
}

/// The serialised form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TemplateText {
    closed: String,
    open: String,
    #[serde(default = "default_separator")]
    separator: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    system: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    text_first: bool,
}

fn default_separator() -> String {
    ", ".into()
}

impl TryFrom<TemplateText> for PromptTemplate {
    type Error = Error;

    fn try_from(text: TemplateText) -> Result<Self, Error> {
        for (field, text) in [("closed", &text.closed), ("open", &text.open)] {
            if text.to_ascii_lowercase().contains("<image>") {
                let message = "prompts show the image first by themselves; remove `<image>`".into();
                return Err(Error::Template { field, message });
            }
        }
        let closed = parse("closed", &text.closed)?;
        let open = parse("open", &text.open)?;
        if open.contains(&Piece::Choices) {
            let message = "an open question has no choices; remove `{choices}`".into();
            return Err(Error::Template {
                field: "open",
                message,
            });
        }
        Ok(Self { text, closed, open })
    }
}

impl From<PromptTemplate> for TemplateText {
    fn from(template: PromptTemplate) -> Self {
        template.text
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Literal(String),
    Question,
    Choices,
}

fn parse(field: &'static str, text: &str) -> Result<Vec<Piece>, Error> {
    let fail = |message: String| Error::Template { field, message };
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        literal.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if let Some(after) = after.strip_prefix(brace) {
            literal.push_str(brace);
            rest = after;
            continue;
        }
        let named = if brace == "{" {
            after.split_once('}')
        } else {
            None
        };
        let Some((name, after)) = named else {
            let hint = format!("`{brace}` without its partner; write `{brace}{brace}` for a brace");
            return Err(fail(hint));
        };
        let piece = match name {
            "question" => Piece::Question,
            "choices" => Piece::Choices,
            _ => {
                let hint =
                    format!("unknown field `{{{name}}}`; there are {{question}}, {{choices}}");
                return Err(fail(hint));
            }
        };
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        pieces.push(piece);
        rest = after;
    }
    literal.push_str(rest);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

fn unparse(pieces: &Vec<Piece>) -> String {
    let mut text = String::new();
    for piece in pieces {
        // Writing to a string cannot fail.
        let _ = match piece {
            Piece::Literal(literal) => {
                text.write_str(&literal.replace('{', "{{").replace('}', "}}"))
            }
            Piece::Question => text.write_str("{question}"),
            Piece::Choices => text.write_str("{choices}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use visrl_core::ImageSource;

    use super::*;

    fn example(choices: &[&str]) -> Example {
        Example {
            id: "7".into(),
            image: ImageSource::path("7.png"),
            question: "What type of object is in the photo?".into(),
            choices: choices.iter().map(|&name| name.into()).collect(),
            label: "b".into(),
            row: Default::default(),
        }
    }

    #[test]
    fn the_papers_prompts_word_by_word() {
        let text = |method, wording, choices: &[&str]| {
            PromptTemplate::paper(method, wording).text(&example(choices))
        };
        assert_eq!(
            text(Method::Thinking, Wording::Train, &["a", "b", "c"]),
            "What type of object is in the photo?\nPlease choose one from list [ a, b, c].\n \
             Please output the thinking process in <think> </think> and final answer in <answer> \
             </answer> tags."
        );
        assert_eq!(
            text(Method::NoThinking, Wording::Train, &[]),
            "What type of object is in the photo?\n Please directly output the answer."
        );
        assert_eq!(
            text(Method::Thinking, Wording::EvalNew, &["b"]),
            "What type of object is in the photo?\nPlease choose one from list [ b]. First output \
             the thinking process in <think> </think> and final answer in <answer> </answer> tags."
        );
        assert_eq!(
            text(Method::ThinkAfterAnswer, Wording::Train, &[]),
            "What type of object is in the photo?\n Please first output the answer in <answer> \
             </answer> tags and then output a brief reasoning process in <reason> </reason> tags."
        );
    }

    #[test]
    fn a_prompt_is_one_user_turn_unless_a_system_text_is_given() {
        let template = PromptTemplate::new("{question} {{{choices}}}", "{question}").unwrap();
        let template = template.with_separator("|").with_system("Be short.");
        let prompt = template.render(&example(&["a", "b"]));
        assert_eq!((prompt.id.as_str(), prompt.messages.len()), ("7", 2));
        assert_eq!(prompt.messages[0].role, Role::System);
        let text = "What type of object is in the photo? {a|b}".to_owned();
        assert_eq!(prompt.messages[1].content[1], Content::Text(text));
        assert_eq!(prompt.images().count(), 1);
        assert_eq!(
            PromptTemplate::default()
                .render(&example(&[]))
                .messages
                .len(),
            1
        );
    }

    #[test]
    fn the_text_may_stand_before_the_image() {
        let template = PromptTemplate::no_instruction().with_text_first();
        let content = template
            .render(&example(&["a", "b"]))
            .messages
            .remove(0)
            .content;
        let text = "What type of object is in the photo?\nPlease choose one from list [ a, b].";
        let image = Content::Image(ImageSource::path("7.png"));
        assert_eq!(content, [Content::Text(text.to_owned()), image]);
        let json = serde_json::to_string(&template).unwrap();
        assert_eq!(
            serde_json::from_str::<PromptTemplate>(&json).unwrap(),
            template
        );
        assert!(template.lists_choices() && !template.without_list().lists_choices());
    }

    #[test]
    fn mistakes_are_found_when_the_template_is_made() {
        let error = |closed, open| PromptTemplate::new(closed, open).unwrap_err().to_string();
        assert_eq!(
            error("{label}", ""),
            "template field `closed`: unknown field `{label}`; there are {question}, {choices}"
        );
        let marked = error("<image>{question}", "");
        assert!(marked.starts_with("template field `closed`: prompts show the image first"));
        assert!(error("{question", "").contains("`{` without its partner"));
        assert!(error("a } b", "").contains("`}` without its partner"));
        assert!(error("", "{choices}").starts_with("template field `open`"));
        let json = r#"{"closed": "{x}", "open": ""}"#;
        assert!(serde_json::from_str::<PromptTemplate>(json).is_err());
    }

    #[test]
    fn every_paper_template_survives_its_serialised_form() {
        for method in Method::ALL {
            for wording in Wording::ALL {
                let template = PromptTemplate::paper(method, wording);
                let json = serde_json::to_string(&template).unwrap();
                assert_eq!(
                    serde_json::from_str::<PromptTemplate>(&json).unwrap(),
                    template
                );
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_can_be_written_as_a_template(literal in ".{0,30}") {
            let escaped = unparse(&vec![Piece::Literal(literal.clone()), Piece::Question]);
            let template = PromptTemplate::new(escaped, "").unwrap();
            let example = example(&["a"]);
            prop_assert_eq!(template.text(&example), literal + &example.question);
        }

        #[test]
        fn any_text_is_a_template_or_an_error(text in "[{}a-c]{0,12}|.{0,20}") {
            let _ = PromptTemplate::new(text, "");
        }
    }
}
