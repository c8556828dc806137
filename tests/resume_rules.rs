//! What a run may be resumed with, and what it is refused with: nothing is changed then.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use common::{asset, base, contents, events, outcome};
use visrl::core::ImageSource;
use visrl::data::{Dataset, FashionMnist, MemoryDataset, Record, Split, few_shot};
use visrl::train::Decay;
use visrl::vlm::{NamedParameter, Pretrained, QwenVl, map_parameters};
use visrl::{DataSource, Error, FineTune, Recipe, RunConfig, Summary};

fn settings(out: PathBuf, steps: usize) -> FineTune {
    FineTune {
        steps,
        num_generations: 4,
        prompts_per_step: 4,
        test_per_class: 1,
        checkpoint_every: 4,
        out,
        ..FineTune::default()
    }
}

/// The data as a set that can be changed row by row.
fn rows() -> MemoryDataset {
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    few_shot(&data, 2, 1).unwrap()
}

/// The same data, of which a split's records are changed.
fn changed(split: Split, change: impl Fn(&mut Vec<Record>)) -> MemoryDataset {
    let data = rows();
    let mut copy = MemoryDataset::new("renamed", data.classes(), data.question());
    for each in [Split::Train, Split::Test] {
        let mut records = data.records(each).unwrap().to_vec();
        if each == split {
            change(&mut records);
        }
        copy = copy.with_split(each, records).unwrap();
    }
    copy
}

fn run(
    base: Pretrained<QwenVl>,
    data: &MemoryDataset,
    settings: &FineTune,
) -> Result<Summary, Error> {
    settings.run(base, &Recipe::no_thinking_rl(), data, data)
}

/// Whether a change of the data, the base or the settings is refused by this name, with no file
/// changed.
fn refused(
    result: Result<Summary, Error>,
    name: &str,
    out: &Path,
    before: &BTreeMap<PathBuf, Vec<u8>>,
) {
    let error = result.map(|summary| summary.steps).unwrap_err().to_string();
    assert!(error.contains(&format!("`{name}`")), "{name}: {error}");
    assert!(contents(out) == *before, "{name}: files were changed");
}

#[test]
fn another_row_question_base_or_file_is_refused_by_name_and_a_moved_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let first = settings(dir.path().join("run"), 4);
    let data = rows();
    run(base(), &data, &first).unwrap();
    let before = contents(&first.out);
    let again = FineTune {
        resume: true,
        ..first.clone()
    };

    let pixel = |record: &mut Record| {
        if let ImageSource::Gray { pixels, .. } = &mut record.image {
            let mut bytes = pixels.to_vec();
            bytes[400] ^= 1;
            *pixels = bytes.into();
        }
    };
    let sets = [
        (
            "data.train.sha256",
            changed(Split::Train, |rows| pixel(&mut rows[3])),
        ),
        (
            "data.train.sha256",
            changed(Split::Train, |rows| rows[0].label = 7),
        ),
        (
            "data.train.sha256",
            changed(Split::Train, |rows| rows.swap(0, 5)),
        ),
        (
            "data.train.sha256",
            changed(Split::Train, |rows| {
                rows[0].question = Some("Which?".into())
            }),
        ),
        (
            "data.train.examples",
            changed(Split::Train, |rows| drop(rows.pop())),
        ),
        (
            "data.test.sha256",
            changed(Split::Test, |rows| pixel(&mut rows[0])),
        ),
        (
            "data.test.sha256",
            changed(Split::Test, |rows| rows[0].question = Some("Which?".into())),
        ),
    ];
    for (name, set) in &sets {
        refused(run(base(), set, &again), name, &again.out, &before);
    }
    let mut classes = data.classes().to_vec();
    classes[0] = "shirt".into();
    let mut renamed = MemoryDataset::new("x", &classes, data.question());
    for split in [Split::Train, Split::Test] {
        let records = data.records(split).unwrap().to_vec();
        renamed = renamed.with_split(split, records).unwrap();
    }
    refused(
        run(base(), &renamed, &again),
        "data.class_names.0",
        &again.out,
        &before,
    );

    let mut other = base();
    other.model = map_parameters(other.model, |parameter| {
        let nudged = parameter.name.ends_with("layers.0.mlp.up_proj.weight");
        let values = match nudged {
            true => parameter.values + 1e-6,
            false => parameter.values,
        };
        NamedParameter {
            values,
            ..parameter
        }
    });
    refused(
        run(other, &data, &again),
        "model.weights",
        &again.out,
        &before,
    );
    for file in [
        "tokenizer.json",
        "chat_template.json",
        "preprocessor_config.json",
    ] {
        let mut other = base();
        let mut bytes = other.files.get(file).unwrap().to_vec();
        bytes.push(b'\n');
        other.files = other.files.with(file, bytes).unwrap();
        refused(
            run(other, &data, &again),
            &format!("model.files.{file}"),
            &again.out,
            &before,
        );
    }
    for (name, settings) in [
        (
            "fine_tune.seed",
            FineTune {
                seed: 7,
                ..again.clone()
            },
        ),
        (
            "fine_tune.test_per_class",
            FineTune {
                test_per_class: 2,
                ..again.clone()
            },
        ),
        (
            "fine_tune.decay",
            FineTune {
                decay: Decay::Constant,
                ..again.clone()
            },
        ),
    ] {
        refused(run(base(), &data, &settings), name, &again.out, &before);
    }

    // Names and places are free.
    let moved = changed(Split::Train, |rows| {
        for row in rows {
            row.id = format!("elsewhere/{}", row.id);
        }
    });
    let mut elsewhere = base();
    elsewhere.name = "moved/base".into();
    let free = FineTune {
        budget_seconds: Some(1e6),
        checkpoint_every: 2,
        ..again
    };
    assert_eq!(run(elsewhere, &moved, &free).unwrap().steps, 4);
}

#[test]
fn a_run_of_constant_rate_can_be_made_longer_to_the_last_bit() {
    let dir = tempfile::tempdir().unwrap();
    let constant = |name: &str, steps| FineTune {
        decay: Decay::Constant,
        ..settings(dir.path().join(name), steps)
    };
    let data = rows();
    let whole = constant("whole", 12);
    run(base(), &data, &whole).unwrap();
    let short = constant("short", 8);
    run(base(), &data, &short).unwrap();
    let longer = FineTune {
        steps: 12,
        resume: true,
        ..short.clone()
    };
    let summary = run(base(), &data, &longer).unwrap();
    assert_eq!(summary.steps, 12);
    assert!(summary.warnings.is_empty(), "{:?}", summary.warnings);
    assert!(outcome(&longer.out) == outcome(&whole.out));

    // Fewer steps than were made are refused, by the name of what says so.
    let before = contents(&short.out);
    for (name, fewer) in [
        (
            "fine_tune.steps",
            FineTune {
                steps: 8,
                ..longer.clone()
            },
        ),
        (
            "fine_tune.epochs",
            FineTune {
                epochs: 1,
                ..longer.clone()
            },
        ),
    ] {
        let error = run(base(), &data, &fewer).unwrap_err().to_string();
        assert!(error.starts_with(&format!("`{name}` asks for ")), "{error}");
        assert!(
            error.contains("step-12") && error.contains("has made 12"),
            "{error}"
        );
        assert!(contents(&short.out) == before);
    }
}

/// An evaluation that was made because a run ended is none of a longer one.
#[test]
fn the_end_of_a_shorter_run_leaves_nothing_in_a_longer_one() {
    let dir = tempfile::tempdir().unwrap();
    let evaluated = |name: &str, steps| FineTune {
        decay: Decay::Constant,
        learning_rate: 1e-3,
        evaluate_every: 3,
        patience: 2,
        ..settings(dir.path().join(name), steps)
    };
    let data = rows();
    let whole = evaluated("whole", 12);
    let expected = run(base(), &data, &whole).unwrap();
    let short = evaluated("short", 8);
    let first = run(base(), &data, &short).unwrap();
    let steps: Vec<_> = first.evaluations.iter().map(|point| point.step).collect();
    assert_eq!(steps, [3, 6, 8]);
    // The same length again is the same end.
    let again = FineTune {
        resume: true,
        ..short.clone()
    };
    let before = contents(&short.out.join("best"));
    assert_eq!(
        run(base(), &data, &again).unwrap().evaluations,
        first.evaluations
    );
    assert!(contents(&short.out.join("best")) == before);

    let longer = FineTune { steps: 12, ..again };
    let found = run(base(), &data, &longer).unwrap();
    assert_eq!(found.evaluations, expected.evaluations);
    assert_eq!((found.best, found.ended), (expected.best, expected.ended));
    assert!(outcome(&longer.out) == outcome(&whole.out));
    assert_eq!(events(&longer.out), events(&whole.out));
    for name in ["samples.jsonl", "best/model.safetensors"] {
        let bytes = |out: &Path| fs::read(out.join(name)).unwrap();
        assert!(bytes(&longer.out) == bytes(&whole.out), "{name}");
    }
}

#[test]
fn a_schedule_that_depends_on_the_length_follows_the_new_one_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = rows();
    let short = settings(dir.path().join("run"), 4);
    run(base(), &data, &short).unwrap();
    let longer = FineTune {
        steps: 8,
        resume: true,
        ..short
    };
    let summary = run(base(), &data, &longer).unwrap();
    let message = &summary.warnings.last().unwrap().message;
    assert!(message.contains("of 8 steps now, it was of 4"), "{message}");
    let (metrics, _) = outcome(&longer.out);
    let rates: Vec<f64> = metrics
        .iter()
        .map(|step| step["learning_rate"].as_f64().unwrap())
        .collect();
    let expected = |at: usize, of: f64| 3e-4 * (1.0 - at as f64 / of);
    for (step, rate) in rates.iter().enumerate() {
        let of = if step < 4 { 4.0 } else { 8.0 };
        assert!((rate - expected(step, of)).abs() < 1e-12, "{step}: {rate}");
    }
    // The step that begins with it records it; the same length again is no news.
    let told = metrics[4]["warnings"].as_array().unwrap();
    assert!(told.iter().any(|told| told == message));
    let again = run(base(), &data, &longer).unwrap();
    assert_eq!(again.warnings.len(), summary.warnings.len());
}

/// A run by its file: the draw, options of the source and of loading count, paths do not.
#[test]
fn what_a_run_s_file_says_of_its_data_counts() {
    let dir = tempfile::tempdir().unwrap();
    let file = |out: &Path| {
        let text = format!(
            "recipe = \"no_thinking_rl\"\nmodel.path = {:?}\n[data]\nshots = 2\n\
             source = {{ kind = \"drawn_shapes\" }}\n[fine_tune]\nsteps = 2\nprompts_per_step = 2\n\
             num_generations = 2\ntest_per_class = 1\ncheckpoint_every = 1\nout = {out:?}\n",
            asset("base")
        );
        RunConfig::from_toml(&text).unwrap()
    };
    let mut run = file(&dir.path().join("run"));
    run.run().unwrap();
    run.fine_tune.resume = true;
    let before = contents(&run.fine_tune.out);
    let refuse = |change: &dyn Fn(&mut RunConfig), name: &str| {
        let mut other = run.clone();
        change(&mut other);
        refused(other.run(), name, &other.fine_tune.out, &before);
    };
    refuse(&|run| run.data.shots = Some(3), "data.shots");
    refuse(&|run| run.data.shot_seed = Some(3), "data.shot_seed");
    refuse(
        &|run| run.data.classes = visrl::data::Classes::Base,
        "data.classes",
    );
    refuse(
        &|run| run.model.load.dtype = visrl::vlm::ParamDtype::Bf16,
        "model.load.dtype",
    );
    let noisy = |run: &mut RunConfig| {
        if let DataSource::DrawnShapes { options } = &mut run.data.source {
            options.noise = 30.0;
        }
    };
    refuse(&noisy, "data.source.options.noise");
    refuse(&|run| run.test = Some(run.data.clone()), "test");
    let copy = dir.path().join("base");
    fs::create_dir(&copy).unwrap();
    for entry in fs::read_dir(asset("base")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.join(path.file_name().unwrap())).unwrap();
    }
    run.model.path = copy;
    run.fine_tune.steps = 3;
    assert_eq!(run.run().unwrap().steps, 3);
}
