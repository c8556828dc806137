//! A run that is interrupted and resumed is the run that was not.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use common::{asset, base, events, outcome};
use serde_json::Value;
use visrl::data::{FashionMnist, ListSchedule, few_shot};
use visrl::vlm::{LoraConfig, Pretrained, QwenVl};
use visrl::{EvaluationPrompts, EvaluationSetting, FineTune, Recipe, Summary};

fn run(recipe: &Recipe, settings: &FineTune) -> Result<Summary, visrl::Error> {
    run_of(base(), recipe, settings)
}

fn run_of(
    base: Pretrained<QwenVl>,
    recipe: &Recipe,
    settings: &FineTune,
) -> Result<Summary, visrl::Error> {
    let data = FashionMnist::open(asset("fashion-mnist"))?;
    let train = few_shot(&data, 4, settings.seed)?;
    settings.run(base, recipe, &train, &data)
}

fn settings(out: PathBuf, steps: usize) -> FineTune {
    FineTune {
        steps,
        num_generations: 4,
        prompts_per_step: 4,
        test_per_class: 1,
        checkpoint_every: 2,
        evaluate_every: 3,
        resample_rounds: 1,
        out,
        ..FineTune::default()
    }
}

/// Copies a folder: what a killed process would have left at that moment.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

/// All files below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap();
    let below = entries.flat_map(|entry| {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path),
            false => vec![path],
        }
    });
    below.collect()
}

/// A run of six steps, and one whose folder is as after `step-4` with two more steps in the
/// metrics and half a line.
fn interrupted(dir: &Path, recipe: &Recipe, change: impl Fn(&mut FineTune)) -> FineTune {
    let mut whole = settings(dir.join("whole"), 6);
    change(&mut whole);
    run(recipe, &whole).unwrap();
    let broken = FineTune {
        out: dir.join("broken"),
        resume: true,
        ..whole
    };
    copy(&dir.join("whole"), &broken.out);
    fs::remove_dir_all(broken.out.join("checkpoints/step-6")).unwrap();
    fs::remove_dir_all(broken.out.join("model")).unwrap();
    fs::create_dir(broken.out.join("checkpoints/.saving-x")).unwrap();
    let metrics = broken.out.join("metrics.jsonl");
    let text = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, &text[..text.len() - 10]).unwrap();
    broken
}

#[test]
fn a_resumed_run_is_the_uninterrupted_run() {
    let recipes = [
        Recipe::no_thinking_rl(),
        Recipe::sft(),
        Recipe::sft_reference(),
    ];
    for recipe in recipes {
        let dir = tempfile::tempdir().unwrap();
        let broken = interrupted(dir.path(), &recipe, |_| ());
        let summary = run(&recipe, &broken).unwrap();
        assert_eq!(summary.steps, 6);
        let (metrics, weights) = outcome(&broken.out);
        let (whole_metrics, whole_weights) = outcome(&dir.path().join("whole"));
        assert_eq!(metrics.len(), 6);
        assert_eq!(metrics, whole_metrics, "{}", recipe.name);
        assert!(weights == whole_weights, "{}: weights differ", recipe.name);
        assert_eq!(events(&broken.out), events(&dir.path().join("whole")));
        let samples = |out: &Path| fs::read(out.join("samples.jsonl")).unwrap();
        assert!(samples(&broken.out) == samples(&dir.path().join("whole")));
        assert!(!broken.out.join("checkpoints/.saving-x").exists());
    }
}

/// With the features that are added after the first layers, by every recipe.
#[test]
fn qwen3_vl_resumes_too() {
    let model =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/models/tiny-qwen3-vl");
    for recipe in Recipe::all() {
        let dir = tempfile::tempdir().unwrap();
        let base = || Pretrained::load(&model, &Device::flex()).unwrap();
        let mut whole = settings(dir.path().join("whole"), 4);
        whole.evaluate_every = 0;
        whole.sampling.max_new_tokens = 8;
        run_of(base(), &recipe, &whole).unwrap();
        let broken = FineTune {
            out: dir.path().join("broken"),
            resume: true,
            ..whole.clone()
        };
        copy(&whole.out, &broken.out);
        fs::remove_dir_all(broken.out.join("checkpoints/step-4")).unwrap();
        fs::remove_dir_all(broken.out.join("model")).unwrap();
        run_of(base(), &recipe, &broken).unwrap();
        let same = outcome(&broken.out) == outcome(&whole.out);
        assert!(same, "{}", recipe.name);
    }
}

#[test]
fn adapters_resume_too() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::no_thinking_rl();
    let broken = interrupted(dir.path(), &recipe, |settings| {
        settings.learning_rate = 1e-2;
        settings.lora = Some(LoraConfig {
            r: 2,
            ..LoraConfig::default()
        });
    });
    run(&recipe, &broken).unwrap();
    assert!(outcome(&broken.out) == outcome(&dir.path().join("whole")));
}

#[test]
fn a_reference_that_follows_the_policy_resumes_too() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::no_thinking_rl();
    let broken = interrupted(dir.path(), &recipe, |settings| {
        settings.learner.reference_refresh.every = Some(3);
    });
    run(&recipe, &broken).unwrap();
    assert!(outcome(&broken.out) == outcome(&dir.path().join("whole")));
}

#[test]
fn lists_that_stay_and_how_is_evaluated_are_part_of_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::no_thinking_rl();
    let paper = EvaluationSetting::paper(EvaluationPrompts::FewShot);
    let broken = interrupted(dir.path(), &recipe, |settings| {
        // Six steps are more than two epochs.
        settings.prompts_per_step = 16;
        settings.lists = ListSchedule::Fixed;
        settings.evaluation = paper.clone();
    });
    let lists = FineTune {
        lists: ListSchedule::EachEpoch,
        ..broken.clone()
    };
    let evaluation = FineTune {
        evaluation: EvaluationSetting::default(),
        ..broken.clone()
    };
    for (other, name) in [(lists, "lists"), (evaluation, "evaluation")] {
        let error = run(&recipe, &other).unwrap_err().to_string();
        assert!(error.contains(&format!("`fine_tune.{name}")), "{error}");
    }
    run(&recipe, &broken).unwrap();
    assert!(outcome(&broken.out) == outcome(&dir.path().join("whole")));
}

#[test]
fn a_damaged_checkpoint_and_another_run_s_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::no_thinking_rl();
    let broken = interrupted(dir.path(), &recipe, |_| ());
    let other = FineTune {
        learning_rate: 1e-5,
        ..broken.clone()
    };
    let error = run(&recipe, &other).unwrap_err().to_string();
    assert!(
        error.contains("step-4") && error.contains("`fine_tune.learning_rate`"),
        "{error}"
    );
    let checkpoint = broken.out.join("checkpoints/step-4");
    let files = files(&checkpoint);
    assert!(files.len() > 4, "{files:?}");
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let good = fs::read(&path).unwrap();
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, bad).unwrap();
            let error = run(&recipe, &broken).unwrap_err().to_string();
            let named = error.contains("step-4") && error.contains(name);
            assert!(named && error.contains("damaged"), "{at}: {error}");
        }
        fs::remove_file(&path).unwrap();
        let error = run(&recipe, &broken).unwrap_err().to_string();
        assert!(error.contains("step-4") && error.contains(name), "{error}");
        fs::write(&path, good).unwrap();
    }
    run(&recipe, &broken).unwrap();
}

#[test]
fn a_run_that_was_at_its_end_comes_to_the_same_end() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::no_thinking_rl();
    let whole = settings(dir.path().join("run"), 4);
    run(&recipe, &whole).unwrap();
    let samples = fs::read(whole.out.join("samples.jsonl")).unwrap();
    let first = outcome(&whole.out);
    let again = FineTune {
        resume: true,
        ..whole
    };
    let summary = run(&recipe, &again).unwrap();
    assert_eq!((summary.steps, outcome(&again.out)), (4, first));
    assert_eq!(fs::read(again.out.join("samples.jsonl")).unwrap(), samples);
}

#[test]
fn groups_without_variance_are_replaced_by_further_prompts() {
    let dir = tempfile::tempdir().unwrap();
    let settings = FineTune {
        resample_rounds: 2,
        ..settings(dir.path().join("run"), 4)
    };
    run(&Recipe::no_thinking_rl(), &settings).unwrap();
    let (metrics, _) = outcome(&settings.out);
    let resampled: u64 = metrics
        .iter()
        .map(|step| step["resampled"].as_u64().unwrap())
        .sum();
    assert!(resampled > 0, "four completions are often alike");
    let state = fs::read(settings.out.join("checkpoints/step-4/state.json")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["dealt"].as_u64().unwrap(), 4 * 4 + resampled);
}

#[test]
fn a_run_stops_early_keeps_its_best_and_stays_in_its_budget() {
    let dir = tempfile::tempdir().unwrap();
    let recipe = Recipe::sft();
    let still = FineTune {
        learning_rate: 0.0,
        evaluate_every: 1,
        patience: 2,
        ..settings(dir.path().join("still"), 20)
    };
    let summary = run(&recipe, &still).unwrap();
    assert_eq!(
        (summary.steps, summary.ended),
        (3, visrl::train::StopCause::Patience)
    );
    assert_eq!(summary.best.map(|best| best.step), Some(1));
    assert_eq!(summary.validated_on, "test");
    assert!(still.out.join("best/model.safetensors").exists());
    let short = FineTune {
        budget_seconds: Some(0.0),
        ..settings(dir.path().join("short"), 20)
    };
    let summary = run(&recipe, &short).unwrap();
    assert_eq!(
        (summary.steps, summary.ended),
        (0, visrl::train::StopCause::Budget)
    );
}
