//! Chat templates: a Jinja text that turns a conversation into one string.

use std::fs;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::{AutoEscape, Environment, ErrorKind, context};
use minijinja_contrib::pycompat::unknown_method_callback;
use serde_json::{Value, json};
use visrl_core::files::{read_text, read_value, write_file};
use visrl_core::{Content, ImageSource, Message, Role, warn_once};

use crate::error::Error;

/// The chat template of Qwen2-VL, for checkpoints that are made and not downloaded.
pub const QWEN2_VL_CHAT_TEMPLATE: &str = concat!(
    "{% set image_count = namespace(value=0) %}{% set video_count = namespace(value=0) %}",
    "{% for message in messages %}",
    "{% if loop.first and message['role'] != 'system' %}",
    "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}",
    "<|im_start|>{{ message['role'] }}\n",
    "{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n",
    "{% else %}{% for content in message['content'] %}",
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}",
    "{% set image_count.value = image_count.value + 1 %}",
    "{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}",
    "<|vision_start|><|image_pad|><|vision_end|>",
    "{% elif content['type'] == 'video' or 'video' in content %}",
    "{% set video_count.value = video_count.value + 1 %}",
    "{% if add_vision_id %}Video {{ video_count.value }}: {% endif %}",
    "<|vision_start|><|video_pad|><|vision_end|>",
    "{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n",
    "{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
);

const TEMPLATE_FILE: &str = "chat_template.jinja";
const JSON_FILE: &str = "chat_template.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
/// The files that may hold a template; the first that does counts.
const FILES: [&str; 4] = [
    "processor_config.json",
    JSON_FILE,
    TEMPLATE_FILE,
    CONFIG_FILE,
];
const MAX_BYTES: u64 = 16 << 20;
/// Instructions of the template engine: a long conversation takes some thousands.
const MAX_STEPS: u64 = 1_000_000;

/// A chat template, rendered with the settings of transformers (`trim_blocks`, `lstrip_blocks`,
/// `raise_exception`, Python's string methods).
///
/// A template is a program. Its steps are limited, so that it comes to an end, but the texts that
/// it builds are not: take templates from where you would take code.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    source: String,
    path: PathBuf,
    numbers_images: bool,
}

impl ChatTemplate {
    /// The template of a checkpoint folder, in transformers' order: `chat_template` of
    /// `processor_config.json`, or else of `chat_template.json`, or else `chat_template.jinja`, or
    /// else `chat_template` of `tokenizer_config.json` (of several, the one named `default`). Others
    /// that write a conversation with an image otherwise are told in a warning.
    ///
    /// # Errors
    /// [`Error::File`] with the file that cannot be read or is larger than 16 MiB, and
    /// [`Error::Template`] when there is no template or it does not parse.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        let mut found: Option<Self> = None;
        for name in FILES {
            let path = dir.join(name);
            if !path.exists() {
                continue;
            }
            let source = match name == TEMPLATE_FILE {
                true => read_text(&path, MAX_BYTES).map(Some).map_err(Error::from),
                false => read_value(&path, MAX_BYTES)
                    .map_err(Error::from)
                    .and_then(|value| template_in(&path, &value)),
            };
            let template = source.and_then(|source| {
                let parse = |source| Self::parse(source, path);
                source.map(parse).transpose()
            });
            match (&found, template) {
                (None, template) => found = template?,
                (Some(used), Ok(Some(other))) => used.tell_rival(&other, name == CONFIG_FILE),
                (Some(used), Err(error)) => warn_once(format!(
                    "{error} (it is not used: {} counts, as in transformers)",
                    used.path.display()
                )),
                (Some(_), Ok(None)) => {}
            }
        }
        found.ok_or_else(|| {
            let [_, json, jinja, config] = FILES;
            Error::Template {
                path: dir.to_owned(),
                message: format!("none found in {json}, {jinja} or {config}"),
            }
        })
    }

    /// Warns of a template that is not used and writes conversations otherwise. A tokenizer's own
    /// may be for text alone, which is no other answer.
    fn tell_rival(&self, other: &Self, of_tokenizer: bool) {
        if self.source.trim_end() == other.source.trim_end() {
            return;
        }
        let text = |role, text: &str| Message {
            role,
            content: vec![Content::Text(text.to_owned())],
        };
        let mut asked = text(Role::User, "a");
        asked
            .content
            .insert(0, Content::Image(ImageSource::path("a.png")));
        let turns = [
            text(Role::System, "s"),
            asked,
            text(Role::Assistant, "b"),
            text(Role::User, "c"),
        ];
        let differs = [&turns[..], &turns[1..]].into_iter().any(|turns| {
            let both = [self, other].map(|template| template.render(turns, true, false));
            match both {
                [Ok(used), Ok(other)] => used != other,
                [_, Err(_)] => !of_tokenizer,
                _ => true,
            }
        });
        if differs {
            warn_once(format!(
                "{}: its chat template is not used: that of {} differs and counts, as in \
                 transformers; remove the one of them that is old",
                other.path.display(),
                self.path.display()
            ));
        } else if let Err(error) = other.render_plain() {
            warn_once(format!(
                "{error} (it is not used: {} counts, as in transformers)",
                self.path.display()
            ));
        }
    }

    /// Renders a conversation of text alone as a template for text alone takes it, which may know
    /// no system turn.
    fn render_plain(&self) -> Result<String, Error> {
        let turns = [
            ("system", "s"),
            ("user", "a"),
            ("assistant", "b"),
            ("user", "c"),
        ];
        let render = |turns: &[(&str, &str)]| {
            let turns = turns.iter();
            let turns = turns.map(|&(role, content)| context! { role, content });
            let messages: minijinja::Value = turns.collect();
            let context = context! { messages, add_generation_prompt => true };
            environment().render_named_str(TEMPLATE_NAME, &self.source, context)
        };
        render(&turns)
            .or_else(|error| render(&turns[1..]).map_err(|_| error))
            .map_err(|error| self.error(&error))
    }

    /// A template from its text.
    ///
    /// # Errors
    /// [`Error::Template`] with the line of a text that does not parse.
    pub fn new(source: impl Into<String>) -> Result<Self, Error> {
        Self::parse(source.into(), PathBuf::from(TEMPLATE_FILE))
    }

    fn parse(source: String, path: PathBuf) -> Result<Self, Error> {
        let template = Self {
            source,
            path,
            numbers_images: false,
        };
        environment()
            .template_from_named_str(TEMPLATE_NAME, &template.source)
            .map_err(|error| template.error(&error))?;
        Ok(template)
    }

    /// The file that holds the template.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Whether [`encode_prompt`](Self::encode_prompt) numbers the images ("Picture 1: ").
    pub fn numbers_images(&self) -> bool {
        self.numbers_images
    }

    /// Numbers the images in [`encode_prompt`](Self::encode_prompt), or not (the default).
    #[must_use]
    pub fn with_numbered_images(self, numbers_images: bool) -> Self {
        Self {
            numbers_images,
            ..self
        }
    }

    /// Renders a conversation. With `add_generation_prompt` the text ends where the assistant
    /// begins; with `add_vision_id` images are numbered where the template can do that.
    ///
    /// # Errors
    /// [`Error::Template`] when the template refuses the conversation, calls a method that there is
    /// not, or takes more than a million steps.
    pub fn render(
        &self,
        messages: &[Message],
        add_generation_prompt: bool,
        add_vision_id: bool,
    ) -> Result<String, Error> {
        let messages: minijinja::Value = messages.iter().map(message_value).collect();
        let context = context! { messages, add_generation_prompt, add_vision_id };
        environment()
            .render_named_str(TEMPLATE_NAME, &self.source, context)
            .map_err(|error| self.error(&error))
    }

    /// Writes the template as `chat_template.json`, which transformers 4 and 5 read.
    ///
    /// # Errors
    /// [`Error::File`] when the file or its folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
        let text = format!("{:#}\n", json!({ "chat_template": self.source }));
        Ok(write_file(&dir.join(JSON_FILE), text.as_bytes())?)
    }

    fn error(&self, error: &minijinja::Error) -> Error {
        Error::Template {
            path: self.path.clone(),
            message: error.to_string(),
        }
    }
}

/// What errors call the template; without an ending that would switch escaping on.
const TEMPLATE_NAME: &str = "template";

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    let mut syntax = SyntaxConfig::builder();
    if let Ok(syntax) = syntax.trim_blocks(true).lstrip_blocks(true).build() {
        environment.set_syntax(syntax);
    }
    environment.set_auto_escape_callback(|_| AutoEscape::None);
    environment.set_fuel(Some(MAX_STEPS));
    environment.set_unknown_method_callback(unknown_method_callback);
    environment.add_function(
        "raise_exception",
        |message: String| -> Result<String, minijinja::Error> {
            Err(minijinja::Error::new(ErrorKind::InvalidOperation, message))
        },
    );
    environment
}

fn message_value(message: &Message) -> minijinja::Value {
    let content = message.content.iter().map(|part| match part {
        Content::Image(_) => context! { type => "image" },
        Content::Text(text) => context! { type => "text", text },
    });
    let content: minijinja::Value = content.collect();
    context! { role => message.role.as_str(), content }
}

/// The template in a JSON file: a text, or a list of named ones.
fn template_in(path: &Path, file: &Value) -> Result<Option<String>, Error> {
    let value = match file.get("chat_template") {
        None | Some(Value::Null) => return Ok(None),
        Some(value) => value,
    };
    let template = match value {
        Value::Array(named) => named
            .iter()
            .find(|template| template.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|template| template.get("template")),
        value => Some(value),
    };
    match template.and_then(Value::as_str) {
        Some(source) => Ok(Some(source.to_owned())),
        None => Err(Error::field(
            path,
            "chat_template",
            "expected a text or a list with a template named `default`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::Prompt;
    use visrl_testing::warnings_of;

    use super::*;

    fn prompt() -> Prompt {
        Prompt::user("p", ImageSource::path("x.png"), "Hi <b>")
    }

    #[test]
    fn the_built_in_template_is_qwen2_vls() {
        let template = ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap();
        assert_eq!(
            template.render(&prompt().messages, true, true).unwrap(),
            "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n\
             Picture 1: <|vision_start|><|image_pad|><|vision_end|>Hi <b><|im_end|>\n\
             <|im_start|>assistant\n"
        );
        let text = |role, text: &str| Message {
            role,
            content: vec![Content::Text(text.into())],
        };
        let turns = [
            text(Role::System, "Short."),
            text(Role::User, "a"),
            text(Role::Assistant, "b"),
        ];
        assert_eq!(
            template.render(&turns, false, false).unwrap(),
            "<|im_start|>system\nShort.<|im_end|>\n<|im_start|>user\na<|im_end|>\n\
             <|im_start|>assistant\nb<|im_end|>\n"
        );
    }

    #[test]
    fn the_places_are_searched_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        let found = || ChatTemplate::from_dir(dir.path()).map(|template| template.source);
        assert!(matches!(found(), Err(Error::Template { .. })));
        write(
            CONFIG_FILE,
            r#"{"chat_template": [{"name": "default", "template": "a"}]}"#,
        );
        assert_eq!(found().unwrap(), "a");
        write(CONFIG_FILE, r#"{"chat_template": "b"}"#);
        assert_eq!(found().unwrap(), "b");
        write(TEMPLATE_FILE, "c");
        assert_eq!(found().unwrap(), "c");
        ChatTemplate::new("d").unwrap().save(dir.path()).unwrap();
        assert_eq!(found().unwrap(), "d");
        write(FILES[0], r#"{"chat_template": "e"}"#);
        assert_eq!(found().unwrap(), "e");
    }

    #[test]
    fn templates_that_differ_are_told() {
        let told = |name: &str, text: &str| {
            let dir = tempfile::tempdir().unwrap();
            let template = ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap();
            template.save(dir.path()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            let (found, told) = warnings_of(|| ChatTemplate::from_dir(dir.path()));
            assert_eq!(found.unwrap().source, QWEN2_VL_CHAT_TEMPLATE);
            told.join("\n")
        };
        let in_config = |source: &str| json!({ "chat_template": source }).to_string();
        let same = format!("{QWEN2_VL_CHAT_TEMPLATE}\n");
        let commented = format!("{{# more #}}{QWEN2_VL_CHAT_TEMPLATE}");
        let other = QWEN2_VL_CHAT_TEMPLATE.replace("helpful", "brief");
        let of_text = "{% for m in messages %}{{ m.role + m.content }}{% endfor %}";
        for quiet in [&same, &commented] {
            assert_eq!(told(TEMPLATE_FILE, quiet), "");
            assert_eq!(told(CONFIG_FILE, &in_config(quiet)), "");
        }
        let of_some = format!("{{% for m in messages %}}{{% break %}}{{% endfor %}}{of_text}");
        for of_text in [of_text, &of_some] {
            assert_eq!(told(CONFIG_FILE, &in_config(of_text)), "");
        }
        for (name, text) in [
            (TEMPLATE_FILE, other.clone()),
            (CONFIG_FILE, in_config(&other)),
            (CONFIG_FILE, in_config("{{ 'x' }}")),
            (TEMPLATE_FILE, of_text.to_owned()),
            (CONFIG_FILE, in_config("{% if %}")),
            (CONFIG_FILE, in_config("{{ messages.nothing.there }}")),
            (CONFIG_FILE, in_config("{{ raise_exception('old') }}")),
            (TEMPLATE_FILE, "{% if %}".to_owned()),
        ] {
            let told = told(name, &text);
            assert!(
                told.contains(name) && told.contains(JSON_FILE),
                "{text}: {told}"
            );
        }
    }

    #[test]
    fn damaged_templates_are_errors_that_name_the_file() {
        let dir = tempfile::tempdir().unwrap();
        for (text, part) in [
            (r#"{"chat_template": 3}"#, "field `chat_template`"),
            (
                r#"{"chat_template": [{"name": "x", "template": "a"}]}"#,
                "named `default`",
            ),
            (
                r#"{"chat_template": "{% if %}"}"#,
                "chat template: syntax error",
            ),
        ] {
            fs::write(dir.path().join(JSON_FILE), text).unwrap();
            let message = ChatTemplate::from_dir(dir.path()).unwrap_err().to_string();
            assert!(
                message.contains(JSON_FILE) && message.contains(part),
                "{message}"
            );
        }
    }

    #[test]
    fn a_template_can_refuse() {
        let template = ChatTemplate::new("{{ raise_exception('only ' ~ 'systems') }}").unwrap();
        let message = template
            .render(&prompt().messages, true, false)
            .unwrap_err()
            .to_string();
        assert!(message.contains("only systems"), "{message}");
    }

    #[test]
    fn blocks_are_trimmed() {
        let template = ChatTemplate::new("  {% if true %}\n  a\n  {% endif %}\nb\n").unwrap();
        assert_eq!(template.render(&[], false, false).unwrap(), "  a\nb");
    }

    /// The text that an expression gives.
    fn evaluate(source: &str) -> Result<String, Error> {
        let template =
            ChatTemplate::new(format!("{{% set map = {{'a': 1, 'b': 'x'}} %}}{source}"))?;
        template.render(&[], false, false)
    }

    #[test]
    fn methods_do_what_python_does() {
        for (source, expected) in [
            ("{{ ' \u{3000}a b\n'.strip() }}|", "a b|"),
            (
                "{{ 'xxaxx'.lstrip('x') }} {{ 'xxaxx'.rstrip('x') }}",
                "axx xxa",
            ),
            (
                "{{ 'abc'.startswith('ab') }} {{ 'abc'.endswith('ab') }}",
                "True False",
            ),
            ("{{ 'aBc'.lower() }}{{ 'aBc'.upper() }}", "abcABC"),
            ("{{ 'a-b-c'.replace('-', '+') }}", "a+b+c"),
            ("{{ 'a</think>b</think>c'.split('</think>')[-1] }}", "c"),
            ("{{ 'a-b-c'.split('-', 1) | join('|') }}", "a|b-c"),
            ("{{ '  a  b c '.split() | join('|') }}", "a|b|c"),
            ("{{ ' a  b c '.split(none, 1) | join('|') }}", "a|b c "),
            (
                "{{ map.keys() | join('') }} {{ map.values() | join('') }}",
                "ab 1x",
            ),
            (
                "{% for k, v in map.items() %}{{ k }}{{ v }}{% endfor %}",
                "a1bx",
            ),
            (
                "{{ map.get('a') }} {{ map.get('c', 7) }} {{ map.get('c') }}",
                "1 7 None",
            ),
        ] {
            assert_eq!(evaluate(source).unwrap(), expected, "{source}");
        }
    }

    #[test]
    fn other_methods_and_arguments_are_errors() {
        for source in [
            "{{ 'a'.nothing() }}",
            "{{ 'a'.strip(1, 2) }}",
            "{{ 3.keys() }}",
        ] {
            assert!(evaluate(source).is_err(), "{source}");
        }
    }
}
