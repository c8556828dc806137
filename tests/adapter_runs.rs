//! A run goes on from an adapter: it trains that one, is resumed bit for bit, and refuses what would be
//! another.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use visrl::{RunConfig, Summary};

fn asset(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../assets")
        .join(name)
}

/// A run of a few steps; `model` and `numbers` are more lines of these tables.
fn config(out: &Path, model: &str, numbers: &str) -> RunConfig {
    let (base, data) = (asset("base"), asset("fashion-mnist"));
    let text = format!(
        r#"
        recipe = "no_thinking_rl"

        [model]
        path = {base:?}
        {model}

        [data]
        shots = 4
        source = {{ kind = "fashion_mnist", path = {data:?} }}

        [fine_tune]
        out = {out:?}
        num_generations = 4
        prompts_per_step = 4
        test_per_class = 1
        checkpoint_every = 2
        learning_rate = 1e-2
        {numbers}
        "#
    );
    RunConfig::from_toml(&text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn run(config: &RunConfig) -> Result<Summary, String> {
    config.run().map_err(|error| error.to_string())
}

/// Metrics without times, and the files of the two models.
fn outcome(out: &Path) -> (Vec<Value>, [Vec<u8>; 3]) {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let metrics = text.lines().map(|line| {
        let mut step: Value = serde_json::from_str(line).unwrap();
        assert!(step.as_object_mut().unwrap().remove("seconds").is_some());
        step
    });
    let files = [
        "model/model.safetensors",
        "adapter/adapter_model.safetensors",
        "adapter/adapter_config.json",
    ];
    let bytes = files.map(|name| fs::read(out.join(name)).unwrap());
    (metrics.collect(), bytes)
}

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

#[test]
fn a_training_goes_on_from_an_adapter() {
    goes_on("");
    goes_on("use_dora = true, ");
}

fn goes_on(option: &str) {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let targets = r#"target_modules = ["q_proj", "up_proj"]"#;
    let lora = format!("steps = 2\nlora = {{ r = 2, lora_alpha = 4.0, {option}{targets} }}");
    let first = run(&config(&place("first"), "", &lora)).unwrap();
    let adapter = place("first").join("adapter");
    let on = format!("adapter = {adapter:?}");

    let whole = run(&config(&place("whole"), &on, "steps = 4")).unwrap();
    // What it began with is what the first run ended with, merged or not.
    let near = |a: f64, b: f64| (a - b).abs() <= 0.101;
    assert!(
        near(whole.before.greedy, first.after.greedy),
        "{whole:?} {first:?}"
    );
    let (metrics, [_, trained, options]) = outcome(&place("whole"));
    assert_eq!(metrics.len(), 4);
    let before = fs::read(adapter.join("adapter_model.safetensors")).unwrap();
    assert_eq!(trained.len(), before.len());
    assert!(trained != before);
    assert!(options == fs::read(adapter.join("adapter_config.json")).unwrap());

    // Cut back to step 2 and resumed, also from a folder that was moved.
    let (half, moved) = (place("half"), place("moved"));
    copy(&place("whole"), &half);
    fs::remove_dir_all(half.join("checkpoints/step-4")).unwrap();
    fs::remove_dir_all(half.join("model")).unwrap();
    copy(&adapter, &moved);
    let resumed = format!("adapter = {moved:?}");
    let mut again = config(&half, &resumed, "steps = 4");
    again.fine_tune.resume = true;
    run(&again).unwrap();
    assert!(outcome(&half) == outcome(&place("whole")));

    // With another adapter, or one of another meaning, it is another run.
    fs::remove_dir_all(half.join("checkpoints/step-4")).unwrap();
    let file = moved.join("adapter_config.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace("\"lora_alpha\": 4.0", "\"lora_alpha\": 8.0"),
    )
    .unwrap();
    let error = run(&again).unwrap_err();
    assert!(
        error.contains("`model.adapter.lora_alpha` (4.0, now 8.0)"),
        "{error}"
    );
    again.model.adapter = Some(place("whole").join("adapter"));
    let error = run(&again).unwrap_err();
    assert!(error.contains("`model.weights`"), "{error}");
    again.model.adapter = None;
    let error = run(&again).unwrap_err();
    assert!(error.contains("`model.adapter"), "{error}");
}

#[test]
fn what_cannot_go_on_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let adapter = dir.path().join("adapter");
    let out = dir.path().join("out");
    let on = format!("adapter = {adapter:?}");
    let lora = "steps = 1\nlora = { r = 2 }";
    run(&config(&dir.path().join("first"), "", lora)).unwrap();
    copy(&dir.path().join("first/adapter"), &adapter);

    let error = run(&config(&out, &on, lora)).unwrap_err();
    assert!(error.contains("`fine_tune.lora` is set"), "{error}");
    // Its own folder would be replaced.
    let error = run(&config(dir.path(), &on, "steps = 1")).unwrap_err();
    assert!(error.contains("fine_tune.out"), "{error}");
    let file = adapter.join("adapter_config.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"LORA\"", "\"LOHA\"")).unwrap();
    let error = run(&config(&out, &on, "steps = 1")).unwrap_err();
    assert!(
        error.contains("adapter_config.json: field `peft_type`"),
        "{error}"
    );
    assert!(!out.exists() && !dir.path().join("metrics.jsonl").exists());
}
