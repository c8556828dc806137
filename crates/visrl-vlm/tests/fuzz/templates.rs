//! Chat templates.

use std::fs;

use serde_json::json;
use visrl_core::{Content, ImageSource, Message, Prompt, Role};
use visrl_vlm::ChatTemplate;
use visrl_vlm::chat::QWEN2_VL_CHAT_TEMPLATE;

use crate::{MIB, folder, group, mutate};

/// What templates are made of.
const PIECES: [&str; 25] = [
    "{% for message in messages %}",
    "{% endfor %}",
    "{% if loop.first %}",
    "{% else %}",
    "{% endif %}",
    "{{ message['role'] }}",
    "{{ message.content[0].text }}",
    "{{ messages | tojson }}",
    "{{ messages[-1:] }}",
    "{{ 1 / 0 }}{{ 1 // 0 }}{{ 1 % 0 }}",
    "{{ 9223372036854775807 + 9223372036854775807 }}",
    "{{ -9223372036854775808 // -1 }}",
    "{{ 2 ** 99999 }}",
    "{{ 'ab' * 1000000000000 }}",
    "{{ [1, 2] * 1000000000 }}",
    "{{ range(1000000000000) | list }}",
    "{% for a in range(90000) %}{% for b in range(90000) %}{% endfor %}{% endfor %}",
    "{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}",
    "{{ 'x' | indent(1000000000000) }}",
    "{{ '%1000000000000d' | format(1) }}",
    "{{ 'a,b'.split(',', 18446744073709551615) | join }}",
    "{{ 'x'.replace('', 'yyyyyyyy').replace('', 'zzzzzzzz') }}",
    "{{ raise_exception('no') }}",
    "{% include 'x' %}",
    "\u{1f600}{# {% raw %} #}{% raw %}{{{% endraw %}",
];

#[test]
fn chat_templates() {
    let dir = folder();
    let jinja = dir.path().join("chat_template.jinja");
    let file = dir.path().join("chat_template.json");
    let mut messages = Prompt::user("p", ImageSource::path("x.png"), "Hi").messages;
    messages.push(Message {
        role: Role::Assistant,
        content: vec![Content::Text("a\n b".into())],
    });
    group("chat templates", 64 * MIB, |rng| {
        let _ = fs::remove_file(&jinja);
        let mut source = QWEN2_VL_CHAT_TEMPLATE.as_bytes().to_vec();
        match rng.below(4) {
            0 => mutate::bytes(rng, &mut source),
            1 => {
                let to = rng.below(source.len());
                source.splice(to..to, rng.pick(&PIECES).bytes());
            }
            2 => {
                source.clear();
                for _ in 0..1 + rng.below(6) {
                    source.extend(rng.pick(&PIECES).bytes());
                }
            }
            _ => {
                let open = *rng.pick(&["(", "[", "{", "not ", "-", "{% if a %}", "{{ ", "a."]);
                source = format!("{{{{ {}1", open.repeat(rng.below(3000))).into_bytes();
            }
        }
        if rng.one_in(2) {
            fs::write(&jinja, &source).unwrap();
        } else {
            let text = String::from_utf8_lossy(&source);
            let value = match rng.below(3) {
                0 => json!({ "chat_template": [{ "name": "default", "template": text }] }),
                _ => json!({ "chat_template": text }),
            };
            let text = match rng.below(3) {
                0 => mutate::json_text(rng, &value),
                _ => value.to_string().into_bytes(),
            };
            fs::write(&file, text).unwrap();
        }
        let Ok(template) = ChatTemplate::from_dir(dir.path()) else {
            return false;
        };
        template.render(&messages, true, rng.one_in(2)).is_ok()
    });
}
