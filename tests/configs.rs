//! Runs from files: those of the repository are good, one repeats its run, and mistakes are named.

#[allow(dead_code)]
mod layouts;
#[path = "../examples/tools/random_weights.rs"]
mod random_weights;

use std::fs;
use std::path::{Path, PathBuf};

use layouts::pets;
use random_weights::random_weights;
use serde_json::Value;
use visrl::data::{ChoiceRule, ListSchedule};
use visrl::image::Qwen2VlProcessorConfig;
use visrl::reward::rules::ExactCompletion;
use visrl::reward::{RewardSet, WeightedRule};
use visrl::vlm::{SaveDtype, SaveOptions};
use visrl::{DataSource, EvaluatedRows, EvaluationSetting, FineTune, Recipe, RunConfig};

/// The shapes that there are files for, with their published `config.json`.
const SHAPES: [(&str, &str); 3] = [
    (
        "qwen2-vl-2b",
        include_str!("../examples/tools/shapes/qwen2-vl-2b.json"),
    ),
    (
        "qwen2.5-vl-3b",
        include_str!("../examples/tools/shapes/qwen2.5-vl-3b.json"),
    ),
    (
        "qwen3-vl-2b",
        include_str!("../examples/tools/shapes/qwen3-vl-2b.json"),
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn short(mut run: RunConfig, out: PathBuf) -> RunConfig {
    run.model.path = root().join("assets/base");
    if let DataSource::FashionMnist { path } = &mut run.data.source {
        *path = root().join("assets/fashion-mnist");
    }
    run.fine_tune = FineTune {
        steps: 2,
        epochs: 0,
        prompts_per_step: 2,
        num_generations: 2,
        test_per_class: 1,
        out,
        ..run.fine_tune
    };
    run.fine_tune.sampling.max_new_tokens = 8;
    run
}

#[test]
fn every_file_of_the_repository_is_a_run_of_its_name() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let run = RunConfig::from_file(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        assert_eq!(run.recipe, recipe(name), "{name}");
        assert_eq!(run.fine_tune.out, Path::new("runs").join(name));
        let again = RunConfig::from_toml(&run.to_toml().unwrap()).unwrap();
        let version = again.version.clone();
        assert_eq!(again, RunConfig { version, ..run }, "{name}");
        count += 1;
    }
    assert_eq!(count, 25);
}

/// The recipe of a file.
fn recipe(file: &str) -> Recipe {
    let of_shape = SHAPES
        .iter()
        .find_map(|(shape, _)| file.strip_prefix(shape)?.strip_prefix('-'));
    let name = of_shape.unwrap_or(file);
    if let Some(method) = name.strip_prefix("sat-") {
        return Recipe::named(method).unwrap().for_sat();
    }
    let open = ExactCompletion { underscore: true };
    match name {
        "base_to_new" => Recipe::no_thinking_rl(),
        "open_set" => Recipe {
            rewards: RewardSet::new([WeightedRule::new(open, 1.0)]).unwrap(),
            ..Recipe::no_thinking_rl()
        },
        name => Recipe::named(name).unwrap(),
    }
}

#[test]
fn the_papers_files_keep_lists_and_ask_as_the_paper() {
    for entry in fs::read_dir(root().join("configs")).unwrap() {
        let path = entry.unwrap().path();
        let run = RunConfig::from_file(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let of_paper = name.starts_with("qwen");
        let is_default = run.fine_tune.evaluation == EvaluationSetting::default();
        assert_eq!(is_default, !of_paper, "{name}");
        let lists = run.fine_tune.choices != ChoiceRule::Open;
        let fixed = run.fine_tune.lists == ListSchedule::Fixed;
        assert_eq!(fixed, of_paper && lists, "{name}");
    }
}

#[test]
fn the_file_that_a_run_leaves_repeats_it_bit_for_bit() {
    let dir = tempfile::tempdir().unwrap();
    let file = root().join("configs/no_thinking_rl.toml");
    let mut run = short(RunConfig::from_file(file).unwrap(), dir.path().join("run"));
    run.fine_tune.learning_rate = 1.0 / 3e3;
    run.run().unwrap();
    let result = |out: &Path| fs::read(out.join("model/model.safetensors")).unwrap();
    let first = result(&run.fine_tune.out);
    let written = run.fine_tune.out.join("run.toml");
    let mut again = RunConfig::from_file(&written).unwrap();
    let text = fs::read(&written).unwrap();
    again.fine_tune.out = dir.path().join("again");
    again.run().unwrap();
    assert!(first == result(&again.fine_tune.out));
    again.fine_tune.out = run.fine_tune.out;
    assert_eq!(again.to_toml().unwrap().as_bytes(), text);
}

/// The paper's own file on a data set in CoOp's layout, with the embedded model, which has the
/// same architecture at a smaller size.
#[test]
fn the_paper_s_settings_run_on_a_folder_in_coop_s_layout() {
    let dir = tempfile::tempdir().unwrap();
    let file = root().join("configs/qwen2-vl-2b-no_thinking_rl.toml");
    let run = RunConfig::from_file(file).unwrap();
    // 37 classes of 4 images, 50 times, 16 at a time.
    assert_eq!(run.fine_tune.total_steps(37 * 4), 463);
    let mut run = short(run, dir.path().join("run"));
    run.device = "flex".into();
    run.model.load.dtype = visrl::vlm::ParamDtype::F32;
    run.fine_tune.evaluate_every = 1;
    // What is chosen on is not reported on.
    run.fine_tune.evaluation.rows = EvaluatedRows::Test;
    run.data.source = pets(dir.path(), &["beagle", "birman"]);
    run.test.as_mut().unwrap().source = run.data.source.clone();
    let summary = run.run().unwrap();
    // The first of each class, of two rows of test and two of validation.
    assert_eq!((summary.steps, summary.test_examples), (2, 2));
    assert_eq!(summary.validated_on, "val");
    assert!(run.fine_tune.out.join("model/model.safetensors").exists());
    assert!(run.fine_tune.out.join("samples/0.jpg").exists());
}

/// A folder with random weights of a published shape, one layer and one vision block deep, with the
/// embedded model's words.
fn shallow(shape: &str, published: &str, dir: &Path) {
    fs::create_dir_all(dir).unwrap();
    let words = root().join("assets/base");
    for name in [
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.json",
        "generation_config.json",
    ] {
        fs::copy(words.join(name), dir.join(name)).unwrap();
    }
    let embedded = fs::read_to_string(words.join("config.json")).unwrap();
    let embedded: Value = serde_json::from_str(&embedded).unwrap();
    let mut config: Value = serde_json::from_str(published).unwrap();
    let third = shape.starts_with("qwen3");
    for (name, value) in embedded.as_object().unwrap() {
        let of_text = ["vocab_size", "bos_token_id", "eos_token_id"].contains(&name.as_str());
        if name.ends_with("token_id") || name == "vocab_size" {
            match third && of_text {
                true => config["text_config"][name] = value.clone(),
                false => config[name] = value.clone(),
            }
        }
    }
    config["vision_config"]["depth"] = 1.into();
    if third {
        config["text_config"]["num_hidden_layers"] = 1.into();
        config["vision_config"]["deepstack_visual_indexes"] = vec![0].into();
    } else {
        config["num_hidden_layers"] = 1.into();
    }
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    let or = Qwen2VlProcessorConfig::default();
    let processor = match third {
        true => Qwen2VlProcessorConfig {
            patch_size: 16,
            ..or
        },
        false => or,
    };
    processor.save(dir).unwrap();
    let options = SaveOptions {
        dtype: SaveDtype::Bf16,
        ..SaveOptions::default()
    };
    let values = random_weights(dir, 1, options).unwrap();
    assert!(values > 70_000_000, "{shape}: {values}");
}

/// The files of the smallest shapes with models of the published widths: bf16, all parameters
/// trained, images of 384 x 384, four completions.
#[test]
#[cfg_attr(debug_assertions, ignore = "too slow without optimization")]
fn the_paper_s_settings_run_at_the_published_widths() {
    let smallest = SHAPES.iter().filter(|(shape, _)| shape.ends_with("2b"));
    for &(shape, published) in smallest {
        let dir = tempfile::tempdir().unwrap();
        let file = root().join(format!("configs/{shape}-no_thinking_rl.toml"));
        let mut run = RunConfig::from_file(file).unwrap();
        run.model.path = dir.path().join(&run.model.path);
        shallow(shape, published, &run.model.path);
        run.data.source = pets(dir.path(), &["beagle", "birman"]);
        run.test.as_mut().unwrap().source = run.data.source.clone();
        run.device = "flex".into();
        let fine_tune = &mut run.fine_tune;
        (
            fine_tune.epochs,
            fine_tune.steps,
            fine_tune.prompts_per_step,
        ) = (0, 1, 2);
        fine_tune.sampling.max_new_tokens = 4;
        fine_tune.out = dir.path().join("run");
        let summary = run.run().unwrap();
        assert_eq!((summary.steps, summary.test_examples), (1, 4), "{shape}");
        let config = fs::read_to_string(run.fine_tune.out.join("config.json")).unwrap();
        let config: Value = serde_json::from_str(&config).unwrap();
        assert_eq!(config["processor"]["pipeline"]["size"], 384, "{config}");
        let metrics = fs::read_to_string(run.fine_tune.out.join("metrics.jsonl")).unwrap();
        let step: Value = serde_json::from_str(metrics.trim()).unwrap();
        assert!(step["grad_norm"].as_f64().unwrap().is_finite(), "{shape}");
        assert!(
            (8..=32).contains(&step["tokens"].as_u64().unwrap()),
            "{step}"
        );
        assert!(summary.memory.plan.parameters > 2 * 70_000_000);
    }
}

#[test]
fn mistakes_are_named_with_file_and_field() {
    let dir = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(root().join("configs/cls_rl.toml")).unwrap();
    let error = |from: &str, to: &str| {
        let path = dir.path().join("run.toml");
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let error = RunConfig::from_file(&path).unwrap_err().to_string();
        assert!(error.contains("run.toml"), "{error}");
        error
    };
    assert!(error("steps", "step").contains("unknown field `step`"));
    assert!(error("shots = 4", "shots = \"4\"").contains("shots"));
    assert!(error("recipe = \"cls_rl\"", "").contains("missing field `recipe`"));
    assert!(error("\"cls_rl\"", "\"cls-rl\"").contains("`think_after_answer`"));
    assert!(error("\"fashion_mnist\"", "\"fashion\"").contains("unknown variant `fashion`"));
    assert!(error("assets/base\"", "assets/base").contains("line 6"));
    let gone = RunConfig::from_file(dir.path().join("none.toml")).unwrap_err();
    assert!(gone.to_string().contains("none.toml"));
    assert!(error("steps", "step = nan\nsteps").contains("unknown field `step`"));
    let path = dir.path().join("run.toml");
    for (from, to, expected) in [
        (
            "steps = 150",
            "steps = 1\nloss = \"grpo\"",
            "`fine_tune.loss`: no loss of the name",
        ),
        (
            "steps = 150",
            "steps = 1\nlearner.recompute = 9",
            "`fine_tune.learner.recompute` is 9",
        ),
        (
            "steps = 150",
            "steps = 1\nlora.target_modules = [\"x\"]",
            "`fine_tune.lora.target_modules` ",
        ),
        ("\"assets/base\"", "\"\"", "`model.path` is empty"),
        (
            "\"assets/fashion-mnist\"",
            "\"\"",
            "`data.source.path` is empty",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&path, good.replacen(from, to, 1)).unwrap();
        let mut run = RunConfig::from_file(&path).unwrap();
        if !expected.contains("`model.path`") {
            run.model.path = root().join("assets/base");
        }
        if let DataSource::FashionMnist { path } = &mut run.data.source
            && !path.as_os_str().is_empty()
        {
            *path = root().join("assets/fashion-mnist");
        }
        run.fine_tune.out = dir.path().join("out");
        let error = run.run().unwrap_err().to_string();
        let file = format!("run file {}: {expected}", path.display());
        assert!(error.starts_with(&file), "{error}");
    }
    let mut run = RunConfig::from_toml(&good).unwrap();
    run.device = "abacus".into();
    run.fine_tune.out = dir.path().join("out");
    assert!(
        run.run()
            .unwrap_err()
            .to_string()
            .starts_with("device: `abacus`")
    );
}
