//! What the paper's programs ask, character by character, in training and in each evaluation:
//! `fixtures/prompts/paper.json` names the line of its code that each prompt is from.

use std::collections::BTreeMap;

use serde::Deserialize;
use visrl::core::{Example, ImageSource};
use visrl::data::{Classes, CoopSet, PromptTemplate};
use visrl::train::conversation;
use visrl::vlm::ChatTemplate;
use visrl::vlm::chat::QWEN2_VL_CHAT_TEMPLATE;
use visrl::{EvaluationSetting, Recipe};

const PAPER: &str = include_str!("fixtures/prompts/paper.json");

#[derive(Deserialize)]
struct Paper {
    classes: Vec<String>,
    label: String,
    question: String,
    open_question: String,
    cv_bench: Spelled,
    sat: Spelled,
    prompts: Vec<Asked>,
    questions: Questions,
}

/// A question that spells out its options.
#[derive(Deserialize)]
struct Spelled {
    question: String,
    #[serde(default)]
    choices: Vec<String>,
    label: String,
}

#[derive(Deserialize)]
struct Asked {
    recipe: String,
    place: String,
    source: String,
    text: String,
}

#[derive(Deserialize)]
struct Questions {
    of: BTreeMap<String, [String; 2]>,
}

fn paper() -> Paper {
    serde_json::from_str(PAPER).unwrap()
}

fn example(question: &str, choices: &[String], label: &str) -> Example {
    Example {
        id: "1".into(),
        image: ImageSource::path("1.jpg"),
        question: question.into(),
        choices: choices.to_vec(),
        label: label.into(),
        row: Default::default(),
    }
}

/// The template and the example of a place.
fn at(paper: &Paper, recipe: Recipe, place: &str) -> (PromptTemplate, Example) {
    let listed = example(&paper.question, &paper.classes, &paper.label);
    let open = example(&paper.open_question, &[], &paper.label);
    let bench = &paper.cv_bench;
    let bench = example(&bench.question, &bench.choices, &bench.label);
    let evaluation = |name: &str, classes: Classes, recipe: &Recipe| {
        let setting = EvaluationSetting::named(name).unwrap();
        setting.of_classes(classes).template(recipe).unwrap()
    };
    match place {
        "training" => (recipe.template, listed),
        "training, open" => (recipe.template, open),
        "training on SAT" => {
            let sat = example(&paper.sat.question, &[], &paper.sat.label);
            (recipe.for_sat().template, sat)
        }
        "paper_base_to_new, base" => {
            let template = evaluation("paper_base_to_new", Classes::Base, &recipe);
            (template, listed)
        }
        "paper_base_to_new, new" => {
            let template = evaluation("paper_base_to_new", Classes::New, &recipe);
            (template, listed)
        }
        "paper_open_set" => (evaluation(place, Classes::All, &recipe), open),
        "paper_few_shot" => (evaluation(place, Classes::All, &recipe), listed),
        // A model that was trained on SAT is asked the same as one that was not.
        "paper_cv_bench" => {
            let template = evaluation(place, Classes::All, &recipe);
            let of_sat = evaluation(place, Classes::All, &recipe.for_sat());
            assert_eq!(template, of_sat);
            (template, bench)
        }
        _ => (
            evaluation(place, Classes::All, &recipe.for_cv_bench()),
            bench,
        ),
    }
}

#[test]
fn every_prompt_is_the_papers_to_the_letter() {
    let paper = paper();
    let chat = ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap();
    for asked in &paper.prompts {
        let recipe = Recipe::named(&asked.recipe).unwrap();
        let (template, example) = at(&paper, recipe, &asked.place);
        let prompt = match asked.recipe.as_str() {
            "sft_reference" => conversation(&template, &example),
            _ => template.render(&example),
        };
        let text = chat.render(&prompt.messages, true, false).unwrap();
        let (recipe, place, source) = (&asked.recipe, &asked.place, &asked.source);
        assert_eq!(text, asked.text, "{recipe}, {place}: {source}");
    }
    assert_eq!(paper.prompts.len(), 24);
}

#[test]
fn every_data_set_is_asked_the_papers_questions() {
    let questions = paper().questions.of;
    assert_eq!(questions.len(), CoopSet::ALL.len());
    for (name, [with_list, open]) in questions {
        let set: CoopSet = serde_json::from_value(name.into()).unwrap();
        assert_eq!((set.question(), set.open_question()), (&*with_list, &*open));
    }
}
