//! Labels as people have them: what is taught is what is measured, and what cannot be right is told
//! before the first step.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use visrl::core::ImageSource;
use visrl::data::Record;
use visrl::prelude::*;

fn base() -> Pretrained<QwenVl> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base");
    Pretrained::load(path, &parse_device("flex").unwrap()).unwrap()
}

/// A picture of one colour with a number in it, so that no two are one.
fn picture(class: usize, number: u8) -> ImageSource {
    let colour = [[220, 60, 40], [40, 80, 220]][class % 2];
    let mut pixels = colour.repeat(56 * 56);
    pixels[0] = number;
    ImageSource::Rgb {
        name: Arc::from(format!("{class}/{number}")),
        width: 56,
        height: 56,
        pixels: pixels.into(),
    }
}

/// Two pictures of each class to train on, and two others to test on.
fn data(classes: &[&str]) -> MemoryDataset {
    let records = |numbers: [u8; 2]| -> Vec<Record> {
        let pairs = numbers
            .into_iter()
            .flat_map(|n| (0..classes.len()).map(move |c| (c, n)));
        pairs
            .map(|(class, n)| Record::new(format!("{class}-{n}"), picture(class, n), class))
            .collect()
    };
    MemoryDataset::new("mine", classes.iter().copied(), "What is it?")
        .with_split(Split::Train, records([1, 2]))
        .and_then(|data| data.with_split(Split::Test, records([3, 4])))
        .unwrap()
}

fn settings(out: &Path, steps: usize) -> FineTune {
    FineTune {
        steps,
        prompts_per_step: 2,
        num_generations: 2,
        learning_rate: 1e-3,
        samples: 0,
        tensorboard: false,
        out: out.to_path_buf(),
        ..FineTune::default()
    }
}

/// A run's metrics without what depends on the clock, and its evaluation by class.
fn numbers(out: &Path) -> (Vec<Value>, Value) {
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = lines.lines().map(|line| {
        let mut line: Value = serde_json::from_str(line).unwrap();
        line.as_object_mut().unwrap().remove("seconds");
        line
    });
    let evaluation = fs::read(out.join("evaluation.json")).unwrap();
    let evaluation: Value = serde_json::from_slice(&evaluation).unwrap();
    (
        lines.collect(),
        evaluation["after"]["greedy"]["confusion"].clone(),
    )
}

#[test]
fn a_label_in_another_form_of_its_characters_is_learnt_and_rewarded_alike() {
    let folder = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for (form, name) in [
        ("nfc", "caf\u{e9}"),
        ("nfd", "cafe\u{301}"),
        ("tags", "<answer>caf\u{e9}</answer>"),
    ] {
        let data = data(&[name, "dog "]);
        let out = folder.path().join(form);
        let trainer = Trainer::new(base(), &Recipe::sft(), &data);
        let taught = trainer
            .settings(FineTune {
                prompts_per_step: 4,
                ..settings(&out.join("sft"), 80)
            })
            .launch()
            .unwrap();
        let trainer = Trainer::new(taught.model, &Recipe::no_thinking_rl(), &data);
        let rewarded = trainer
            .settings(settings(&out.join("rl"), 1))
            .launch()
            .unwrap();
        assert!(rewarded.summary.before.greedy >= 0.5, "{form}");
        let (taught, rewarded) = (numbers(&out.join("sft")), numbers(&out.join("rl")));
        assert_eq!(
            rewarded.1["classes"],
            serde_json::json!(["caf\u{e9}", "dog"])
        );
        found.push((taught, rewarded));
    }
    assert!(found[0] == found[1] && found[0] == found[2]);
}

#[test]
fn a_supervised_recipe_teaches_the_tags_that_it_is_measured_by() {
    let folder = tempfile::tempdir().unwrap();
    let recipe = Recipe {
        name: "tagged_sft".into(),
        answer_in_tags: true,
        ..Recipe::sft()
    };
    let model = base();
    let tokens = model
        .encoder
        .tokenizer()
        .encode("<answer>dog</answer>")
        .unwrap();
    let data = data(&["dog", "dog house"]);
    let settings = FineTune {
        prompts_per_step: 4,
        ..settings(folder.path(), 1)
    };
    let outcome = Trainer::new(model, &recipe, &data)
        .settings(settings)
        .launch();
    outcome.unwrap();
    let length = numbers(folder.path()).0[0]["completion_length"]
        .as_f64()
        .unwrap();
    assert!(length > (tokens.len() + 1) as f64, "{length}");
}

#[test]
fn labels_that_do_not_fit_are_told_and_those_that_just_fit_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let model = base();
    let long = "great crested grebe";
    for recipe in Recipe::all() {
        let answer = match recipe.name.as_str() {
            "sft" | "no_thinking_rl" => long.to_owned(),
            "cls_rl" => format!("<think></think><answer>{long}</answer>"),
            "think_after_answer" => format!("<answer>{long}</answer><reason></reason>"),
            _ => format!("<answer>{long}</answer>"),
        };
        let fits = model.encoder.tokenizer().encode(&answer).unwrap().len();
        for max_new_tokens in [fits, fits - 1] {
            let mut settings = settings(folder.path(), 0);
            settings.sampling.max_new_tokens = max_new_tokens;
            let data = data(&["a", long]);
            let trainer = Trainer::new(model.clone(), &recipe, &data).settings(settings);
            let warnings = trainer.launch().unwrap().summary.warnings;
            let told = warnings
                .iter()
                .find(|warning| warning.cause == "label length");
            assert_eq!(told.is_some(), max_new_tokens < fits, "{}", recipe.name);
            if let Some(warning) = told {
                let message = &warning.message;
                let start =
                    format!("`fine_tune.sampling.max_new_tokens` is {max_new_tokens}, but 1");
                assert!(message.starts_with(&start), "{message}");
                assert!(
                    message.contains("`great crested grebe`, takes"),
                    "{message}"
                );
                assert!(message.ends_with(&format!("at least {fits}")), "{message}");
            }
        }
    }
}

#[test]
fn labels_that_a_rule_takes_for_one_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let data = data(&["Kite", "kite"]);
    for (recipe, is_told) in [(Recipe::no_thinking_rl(), false), (Recipe::cls_rl(), true)] {
        let mut settings = settings(folder.path(), 0);
        settings.sampling.max_new_tokens = 48;
        let trainer = Trainer::new(base(), &recipe, &data).settings(settings);
        let warnings = trainer.launch().unwrap().summary.warnings;
        let told = warnings
            .iter()
            .any(|warning| warning.cause == "labels alike");
        assert_eq!(told, is_told, "{}", recipe.name);
    }
}

#[test]
fn what_is_chosen_on_is_not_what_is_reported_on() {
    let folder = tempfile::tempdir().unwrap();
    let whole = data(&["dog", "cat"]);
    let test = whole.records(Split::Test).unwrap().to_vec();
    let train = whole.records(Split::Train).unwrap().to_vec();
    let mixed = [&test[..2], &train[..2]].concat();
    for (val, validated_on, told) in [
        (train, "val", None),
        (
            mixed,
            "val",
            Some("2 of 4 validation pictures are among the test pictures"),
        ),
        (
            test,
            "test",
            Some("all 4 validation pictures are among the test pictures"),
        ),
    ] {
        // A copy under another name is the same picture.
        let renamed = val.into_iter().map(|mut record| {
            if let ImageSource::Rgb { name, .. } = &mut record.image {
                *name = Arc::from("another");
            }
            record
        });
        let data = whole
            .clone()
            .with_split(Split::Val, renamed.collect())
            .unwrap();
        let settings = FineTune {
            evaluate_every: 1,
            ..settings(folder.path(), 1)
        };
        let outcome = Trainer::new(base(), &Recipe::sft(), &data)
            .settings(settings)
            .launch();
        let summary = outcome.unwrap().summary;
        assert_eq!(summary.validated_on, validated_on);
        let warning = summary
            .warnings
            .iter()
            .find(|w| w.cause == "validation on test pictures");
        assert_eq!(warning.is_some(), told.is_some());
        if let (Some(warning), Some(start)) = (warning, told) {
            assert!(warning.message.starts_with(start), "{}", warning.message);
        }
    }
}
