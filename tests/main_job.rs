//! The main job, shortened: it learns, it is repeatable, and what it saves is what it measured.

use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde_json::Value;
use visrl::data::{FashionMnist, few_shot};
use visrl::vlm::{LoraConfig, Pretrained, QwenVl, load_lora, merge_lora, visit_parameters};
use visrl::{FineTune, Recipe, Summary};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

fn run(model: &Path, settings: &FineTune) -> Summary {
    let base = Pretrained::<QwenVl>::load(model, &Device::flex()).unwrap();
    let data = FashionMnist::open(asset("fashion-mnist")).unwrap();
    let train = few_shot(&data, 4, settings.seed).unwrap();
    settings
        .run(base, &Recipe::no_thinking_rl(), &train, &data)
        .unwrap()
}

/// The metrics file without its times.
fn metrics(out: &Path) -> Vec<Value> {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let mut step: Value = serde_json::from_str(line).unwrap();
            assert!(step.as_object_mut().unwrap().remove("seconds").is_some());
            step
        })
        .collect()
}

#[test]
fn one_seed_gives_one_run_and_another_seed_another() {
    let dir = tempfile::tempdir().unwrap();
    let short = FineTune {
        steps: 5,
        test_per_class: 2,
        ..FineTune::default()
    };
    let start = |name: &str, seed| {
        let out = dir.path().join(name);
        let summary = run(
            &asset("base"),
            &FineTune {
                seed,
                out: out.clone(),
                ..short.clone()
            },
        );
        (
            metrics(&out),
            fs::read(out.join("model/model.safetensors")).unwrap(),
            summary,
        )
    };
    let (first, first_weights, first_summary) = start("first", 1);
    let (again, again_weights, again_summary) = start("again", 1);
    let (other, other_weights, _) = start("other", 2);
    assert_eq!(first.len(), 5);
    assert_eq!(first, again);
    assert!(
        first_weights == again_weights,
        "the weights are the same, bit for bit"
    );
    assert_eq!(
        (first_summary.before, first_summary.after),
        (again_summary.before, again_summary.after)
    );
    assert_ne!(first, other);
    assert!(first_weights != other_weights);
}

#[test]
fn the_saved_checkpoint_evaluates_to_the_summary_s_accuracy() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let settings = FineTune {
        steps: 10,
        test_per_class: 10,
        out: out.clone(),
        ..FineTune::default()
    };
    let summary = run(&asset("base"), &settings);
    let written: Summary =
        serde_json::from_str(&fs::read_to_string(out.join("summary.json")).unwrap()).unwrap();
    assert_eq!(written, summary);
    assert_eq!(summary.test_examples, 100);
    let nothing = FineTune {
        steps: 0,
        out: dir.path().join("loaded"),
        ..settings
    };
    let loaded = run(&out.join("model"), &nothing);
    assert_eq!(loaded.before, summary.after);
    assert_ne!(summary.before, summary.after);
}

#[test]
fn adapters_are_trained_saved_and_merged() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let lora = LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        ..LoraConfig::default()
    };
    let settings = FineTune {
        steps: 5,
        learning_rate: 1e-2,
        test_per_class: 2,
        lora: Some(lora.clone()),
        out: out.clone(),
        ..FineTune::default()
    };
    run(&asset("base"), &settings);
    let load = |dir: &Path| {
        Pretrained::<QwenVl>::load(dir, &Device::flex())
            .unwrap()
            .model
    };
    let (adapted, read) = load_lora(load(&asset("base")), out.join("adapter")).unwrap();
    assert_eq!(read, lora);
    let weights = |model: &QwenVl| {
        let mut all: Vec<f32> = Vec::new();
        visit_parameters(model, |p| {
            all.extend(p.values.try_into_vec_as::<f32>().unwrap())
        });
        all
    };
    let difference = |a: &[f32], b: &[f32]| {
        assert_eq!(a.len(), b.len());
        a.iter()
            .zip(b)
            .fold(0.0, |worst: f32, (a, b)| worst.max((a - b).abs()))
    };
    let merged = weights(&merge_lora(adapted));
    let saved = weights(&load(&out.join("model")));
    assert!(difference(&merged, &saved) < 1e-6);
    assert!(difference(&saved, &weights(&load(&asset("base")))) > 1e-4);
}
