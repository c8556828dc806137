//! A run finds out what is wrong before it changes a file, shares its folder with nobody, leaves
//! what is its own, and warns once of what teaches nothing.

mod common;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use common::{asset, base, contents};
use visrl::core::ImageSource;
use visrl::data::Record;
use visrl::prelude::*;
use visrl::report;
use visrl::train::{LoopConfig, TrainState};
use visrl::vlm::{LoraConfig, TargetModules, Trainable};

fn few() -> MemoryDataset {
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    few_shot(&data, 1, 1).unwrap()
}

fn settings(out: PathBuf) -> FineTune {
    FineTune {
        steps: 2,
        num_generations: 4,
        prompts_per_step: 2,
        test_per_class: 1,
        checkpoint_every: 1,
        out,
        ..FineTune::default()
    }
}

fn launch(data: &dyn Dataset, settings: FineTune, recipe: &Recipe) -> Result<Summary, Error> {
    let trainer = Trainer::new(base(), recipe, data).settings(settings);
    Ok(trainer.launch()?.summary)
}

/// One split of labelled pictures, the other of one.
fn set(
    names: &[&str],
    train: &[(ImageSource, usize)],
    test: &[(ImageSource, usize)],
) -> MemoryDataset {
    let records = |rows: &[(ImageSource, usize)]| -> Vec<Record> {
        let numbered = rows.iter().enumerate();
        numbered
            .map(|(n, (image, label))| Record::new(n.to_string(), image.clone(), *label))
            .collect()
    };
    MemoryDataset::new("mine", names.iter().copied(), "What is it?")
        .with_split(Split::Train, records(train))
        .unwrap()
        .with_split(Split::Test, records(test))
        .unwrap()
}

fn grey(value: u8) -> ImageSource {
    ImageSource::Gray {
        name: "grey".into(),
        width: 28,
        height: 28,
        pixels: vec![value; 28 * 28].into(),
    }
}

#[test]
fn a_run_that_is_refused_changes_no_file_of_the_run_before() {
    let dir = tempfile::tempdir().unwrap();
    let good = settings(dir.path().join("run"));
    let data = few();
    let recipe = Recipe::no_thinking_rl();
    launch(&data, good.clone(), &recipe).unwrap();
    let before = contents(&good.out);
    let refuse = |data: &dyn Dataset, settings: FineTune, parts: &[&str]| {
        let error = launch(data, settings, &recipe).unwrap_err().to_string();
        for part in parts {
            assert!(error.contains(part), "`{part}` is not in: {error}");
        }
        assert!(
            contents(&good.out) == before,
            "{parts:?}: files were changed"
        );
    };

    let mut hot = good.clone();
    hot.sampling.temperature = -1.0;
    refuse(&data, hot, &["`fine_tune.sampling.temperature` is -1"]);
    let none = FineTune {
        prompts_per_step: 0,
        ..good.clone()
    };
    refuse(&data, none, &["`fine_tune.prompts_per_step` is 0"]);
    let mut layers = good.clone();
    layers.learner.recompute = 999;
    refuse(
        &data,
        layers,
        &["`fine_tune.learner.recompute` is 999, expected 0 to "],
    );
    let mut decay = good.clone();
    decay.learner.adamw.weight_decay = 1e30;
    refuse(
        &data,
        decay,
        &["`fine_tune.learner.adamw.weight_decay` is 1e30, expected 0 to 1000"],
    );
    let lora = |target: &str, r| {
        Some(LoraConfig {
            r,
            target_modules: TargetModules::Names(vec![target.into()]),
            ..LoraConfig::default()
        })
    };
    let target = FineTune {
        lora: lora("no_proj", 4),
        ..good.clone()
    };
    refuse(&data, target, &["target_modules", "no_proj"]);
    let rank = FineTune {
        lora: lora("q_proj", 0),
        ..good.clone()
    };
    refuse(&data, rank, &["`fine_tune.lora.r` is 0"]);

    // Nothing is left to train: whatever is frozen, with adapters and without.
    for (vision_tower, merger, language_model, adapters) in [
        (false, false, false, false),
        (true, true, false, true),
        (false, false, false, true),
    ] {
        let mut frozen = good.clone();
        frozen.learner.trainable = Trainable {
            vision_tower,
            merger,
            language_model,
        };
        frozen.lora = adapters.then(|| lora("q_proj", 2)).flatten();
        refuse(
            &data,
            frozen.clone(),
            &["`fine_tune.learner.trainable` leaves no parameter"],
        );
        let error = launch(&data, frozen, &Recipe::sft())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("`fine_tune.learner.trainable`"),
            "{error}"
        );
    }

    let missing = ImageSource::path(dir.path().join("gone.png"));
    let damaged = dir.path().join("damaged.png");
    fs::write(&damaged, "this is no picture").unwrap();
    let damaged = ImageSource::path(damaged);
    let names = ["light", "dark"];
    let two = [(grey(200), 0), (grey(20), 1)];
    for (bad, name) in [(&missing, "gone.png"), (&damaged, "damaged.png")] {
        let bad = [(grey(200), 0), (bad.clone(), 1)];
        refuse(&set(&names, &bad, &two), good.clone(), &[name]);
        refuse(&set(&names, &two, &bad), good.clone(), &[name]);
    }
    refuse(
        &set(&names, &two, &[]),
        good.clone(),
        &["`test` has no example", "`mine`"],
    );
    refuse(
        &set(&names, &[], &two),
        good.clone(),
        &["nothing to train on", "`mine`"],
    );
    // One class is told, and can be learnt from.
    let one = [(grey(200), 0)];
    let settings = FineTune {
        out: dir.path().join("one"),
        ..good.clone()
    };
    let summary = launch(&set(&["light"], &one, &one), settings, &recipe).unwrap();
    let told = |warning: &visrl::train::Warning| warning.message.contains("`light`");
    assert!(summary.warnings.iter().any(told), "{:?}", summary.warnings);

    let resumed = FineTune {
        learning_rate: 0.1,
        resume: true,
        ..good.clone()
    };
    refuse(
        &data,
        resumed,
        &["step-2", "`fine_tune.learning_rate` (0.0003, now 0.1)"],
    );
    fs::write(dir.path().join("file"), "").unwrap();
    let file = FineTune {
        out: dir.path().join("file"),
        ..good.clone()
    };
    refuse(&data, file, &["`fine_tune.out` is ", "is a file"]);
    let inside = Pretrained::<QwenVl>::load(good.out.join("model"), &parse_device("flex").unwrap());
    let error = Trainer::new(inside.unwrap(), &recipe, &data)
        .settings(good.clone())
        .launch();
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("`fine_tune.out`") && error.contains("holds what the run reads"),
        "{error}"
    );
    assert!(contents(&good.out) == before);

    // A check writes nothing either way.
    let check = |settings: FineTune| {
        Trainer::new(base(), &recipe, &data)
            .settings(settings)
            .check()
    };
    check(good.clone()).unwrap();
    check(FineTune {
        steps: 1,
        resume: true,
        ..good.clone()
    })
    .unwrap_err();
    let new = dir.path().join("new");
    check(FineTune {
        out: new.clone(),
        ..good.clone()
    })
    .unwrap();
    assert!(contents(&good.out) == before && !new.exists());
}

/// Tries to run in the folder of the run that it watches.
struct Intruder(FineTune, Vec<String>);

impl Observer for Intruder {
    fn started(&mut self, _: &LoopConfig, _: &TrainState) -> Result<(), visrl::train::Error> {
        for resume in [false, true] {
            let settings = FineTune {
                resume,
                seed: 7,
                ..self.0.clone()
            };
            let error = launch(&few(), settings, &Recipe::no_thinking_rl()).unwrap_err();
            self.1.push(error.to_string());
        }
        Ok(())
    }
}

#[test]
fn a_folder_is_one_run_s_and_the_next_one_leaves_what_is_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let first = FineTune {
        lora: Some(LoraConfig {
            r: 2,
            ..LoraConfig::default()
        }),
        evaluate_every: 1,
        ..settings(out.clone())
    };
    let (data, recipe) = (few(), Recipe::no_thinking_rl());
    let mut intruder = Intruder(first.clone(), Vec::new());
    let trainer = Trainer::new(base(), &recipe, &data).settings(first);
    let summary = trainer.observer(&mut intruder).launch().unwrap().summary;
    assert_eq!(summary.steps, 2);
    assert_eq!(intruder.1.len(), 2);
    for error in intruder.1 {
        assert!(
            error.contains("another run") && error.contains("run: "),
            "{error}"
        );
    }
    let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 2);

    for (name, text) in [
        ("notes.txt", "mine"),
        ("model/notes.txt", "mine"),
        ("samples/a.png", "mine"),
    ] {
        fs::write(out.join(name), text).unwrap();
    }
    report::write(&out, out.join("report.html")).unwrap();
    let plain = FineTune {
        samples: 2,
        tensorboard: false,
        checkpoint_every: 0,
        ..settings(out.clone())
    };
    launch(&data, plain, &recipe).unwrap();
    for gone in [
        "adapter",
        "best",
        "checkpoints",
        "events.out.tfevents",
        "samples/2.png",
        "report.html",
    ] {
        assert!(!out.join(gone).exists(), "{gone}");
    }
    for there in [
        "samples/0.png",
        "samples/1.png",
        "summary.json",
        "model/config.json",
    ] {
        assert!(out.join(there).exists(), "{there}");
    }
    for mine in ["notes.txt", "model/notes.txt", "samples/a.png"] {
        assert_eq!(
            fs::read_to_string(out.join(mine)).unwrap(),
            "mine",
            "{mine}"
        );
    }
}

/// The system takes the lock back from a process that is killed.
#[test]
#[cfg(unix)]
fn a_killed_run_leaves_its_folder_free() {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join("no_thinking_rl");
    assert!(binary.exists(), "{} is not built", binary.display());
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let mut child = Command::new(binary)
        .args([
            "--steps",
            "100000",
            "--generations",
            "4",
            "--test-per-class",
            "1",
        ])
        .arg("--out")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let begun = Instant::now();
    while fs::read_to_string(out.join("metrics.jsonl"))
        .unwrap_or_default()
        .is_empty()
    {
        assert_eq!(child.try_wait().unwrap(), None, "the run ended early");
        assert!(begun.elapsed() < Duration::from_secs(300), "no steps");
        sleep(Duration::from_millis(2));
    }
    let (data, recipe) = (few(), Recipe::no_thinking_rl());
    let error = launch(&data, settings(out.clone()), &recipe)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("process {}", child.id())),
        "{error}"
    );
    child.kill().unwrap();
    child.wait().unwrap();
    launch(&data, settings(out), &recipe).unwrap();
}

#[test]
fn what_teaches_nothing_is_told_once_in_metrics_summary_and_report() {
    let dir = tempfile::tempdir().unwrap();
    let data = few();
    let (plain, wordy) = (Recipe::no_thinking_rl(), Recipe::cls_rl());
    let told = |name: &str, recipe: &Recipe, change: &dyn Fn(&mut FineTune)| -> Vec<String> {
        let mut settings = settings(dir.path().join(name));
        change(&mut settings);
        let out = settings.out.clone();
        let summary = launch(&data, settings, recipe).unwrap();
        let messages: Vec<String> = summary.warnings.into_iter().map(|w| w.message).collect();
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let recorded: Vec<String> = metrics
            .lines()
            .flat_map(|line| serde_json::from_str::<StepMetrics>(line).unwrap().warnings)
            .collect();
        if !metrics.is_empty() {
            assert_eq!(recorded, messages);
        }
        let html = report::render(&out).unwrap();
        assert_eq!(html.contains("<h2>Warnings</h2>"), !messages.is_empty());
        messages
    };
    let one = |messages: Vec<String>, parts: &[&str]| {
        assert_eq!(messages.len(), 1, "{messages:?}");
        for part in parts {
            assert!(
                messages[0].contains(part),
                "`{part}` is not in: {messages:?}"
            );
        }
    };
    assert!(told("good", &plain, &|_| ()).is_empty());
    let alone = |settings: &mut FineTune| (settings.num_generations, settings.steps) = (1, 8);
    one(
        told("alone", &plain, &alone),
        &["`fine_tune.num_generations` is 1", "2 or more"],
    );
    assert!(told("taught", &Recipe::sft(), &alone).is_empty());
    let patient = |settings: &mut FineTune| settings.patience = 3;
    one(
        told("patient", &plain, &patient),
        &["`fine_tune.patience`", "`evaluate_every`"],
    );
    let single = |settings: &mut FineTune| {
        settings.choices = ChoiceRule::Fraction {
            fraction: 0.1,
            all_below: 0,
            at_most: 9,
        };
    };
    one(
        told("single", &plain, &single),
        &["`fine_tune.choices` shows one name"],
    );
    let idle = |settings: &mut FineTune| settings.steps = 0;
    one(told("idle", &plain, &idle), &["`fine_tune.steps` is 0"]);
    let greedy =
        |settings: &mut FineTune| (settings.sampling.temperature, settings.steps) = (0.0, 6);
    let messages = told("greedy", &plain, &greedy);
    assert!(
        messages[0].contains("`fine_tune.sampling.temperature` is 0"),
        "{messages:?}"
    );
    assert!(
        messages[1].contains("none of the first 5 steps"),
        "{messages:?}"
    );
    assert_eq!(messages.len(), 2);
    // A thought and an answer in tags do not fit into four tokens.
    let short =
        |settings: &mut FineTune| (settings.sampling.max_new_tokens, settings.steps) = (4, 6);
    let messages = told("short", &wordy, &short);
    let format = messages
        .iter()
        .find(|m| m.contains("`think_answer_format` has rewarded none"));
    assert!(
        format.is_some_and(|m| m.contains("`max_new_tokens`")),
        "{messages:?}"
    );
    let even = messages
        .iter()
        .any(|m| m.contains("none of the first 5 steps could teach"));
    assert!(even, "{messages:?}");
}
