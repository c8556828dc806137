//! The user texts of the reference programs' prompts.
//!
//! The cases are those of `golden/prompts.json` in the folder of `VISRL_FIXTURES`, by default
//! `tests/fixtures`.
#![allow(clippy::print_stdout)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use visrl_core::{Content, Example, ImageSource, Role};
use visrl_data::{Method, PromptTemplate, Wording};
use visrl_testing::fixtures;

fn cases() -> Vec<Value> {
    let path = fixtures().join("golden/prompts.json");
    let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_slice(&bytes).unwrap()
}

/// The template of a case by its name in the file.
fn template(name: &str) -> Option<PromptTemplate> {
    let (method, wording) = match name {
        "train_think" => (Method::Thinking, Wording::Train),
        "train_nothink" => (Method::NoThinking, Wording::Train),
        "eval_base_normal" => (Method::Thinking, Wording::EvalBase),
        "eval_base_direct" => (Method::NoThinking, Wording::EvalBase),
        "eval_new_normal" => (Method::Thinking, Wording::EvalNew),
        "cvbench_reason" => (Method::Thinking, Wording::CvBench),
        "cvbench_direct" => (Method::NoThinking, Wording::CvBench),
        _ => return None,
    };
    Some(PromptTemplate::paper(method, wording))
}

fn example(question: &str, choices: Vec<String>) -> Example {
    let image = ImageSource::path("image.png");
    let question = question.into();
    Example {
        id: "case".into(),
        image,
        question,
        choices,
        label: String::new(),
        row: Default::default(),
    }
}

/// Splits off a list in the paper's form, if the question ends in one.
fn closed(question: &str) -> Option<(&str, Vec<String>)> {
    let (question, list) = question.split_once("\nPlease choose one from list [ ")?;
    let names = list.strip_suffix("].")?.split(", ");
    Some((question, names.map(String::from).collect()))
}

#[test]
fn prompts_are_those_of_the_reference_programs() {
    let (mut compared, mut with_choices) = (0, 0);
    let mut questions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for case in cases() {
        let name = case["template"].as_str().unwrap();
        let Some(template) = template(name) else {
            continue;
        };
        let [message] = &case["messages"].as_array().unwrap()[..] else {
            continue;
        };
        let Some([image, text]) = message["content"].as_array().map(Vec::as_slice) else {
            continue;
        };
        assert_eq!(image["type"], "image", "{name}");
        let text = text["text"].as_str().unwrap();

        // The file does not say where the question ends: it is what stands before the template's
        // ending. That the endings are right shows below, where all templates ask some of the
        // same questions.
        let ending = template.text(&example("", vec![]));
        let question = text.strip_suffix(ending.as_str()).unwrap_or_else(|| {
            panic!("{name}: `{text}` does not end in `{ending}`");
        });
        questions
            .entry(name.to_owned())
            .or_default()
            .insert(question.to_owned());
        let mut forms = vec![example(question, vec![])];
        if let Some((question, names)) = closed(question) {
            forms.push(example(question, names));
            with_choices += 1;
        }
        for form in forms {
            let prompt = template.render(&form);
            let [turn] = &prompt.messages[..] else {
                panic!("{prompt:?}")
            };
            assert_eq!(turn.role, Role::User);
            let expected = [
                Content::Image(form.image.clone()),
                Content::Text(text.to_owned()),
            ];
            assert_eq!(turn.content, expected, "{name}");
        }
        assert!(case["rendered"].as_str().unwrap().contains(text), "{name}");
        compared += 1;
    }
    println!("prompts compared: {compared}, of them with a list of choices: {with_choices}");
    assert!(
        compared > 0,
        "golden/prompts.json has no prompt of a known template"
    );
    let shared = questions
        .values()
        .cloned()
        .reduce(|a, b| &a & &b)
        .unwrap_or_default();
    assert!(
        !shared.is_empty(),
        "no question occurs in every template: {questions:#?}"
    );
}
