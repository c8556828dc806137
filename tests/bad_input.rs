//! Bad input gives a clear error and exit code 1, never a panic.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An example's binary, which `cargo test` builds beside the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built", binary.display());
    Command::new(binary)
}

fn fails(output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

/// A copy of the embedded model that a test may damage.
fn model() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(root().join("assets/base")).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn picture(dir: &Path) -> PathBuf {
    let path = dir.join("picture.png");
    image::GrayImage::from_pixel(28, 28, image::Luma([90]))
        .save(&path)
        .unwrap();
    path
}

fn classify(model: &Path, image: &Path) -> Output {
    let mut command = example("classify");
    command
        .arg("--model")
        .arg(model)
        .arg("--image")
        .arg(image)
        .args(["--choices", "Bag,Coat"]);
    command.output().unwrap()
}

#[test]
fn a_good_folder_works() {
    let model = model();
    let output = classify(model.path(), &picture(model.path()));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(text.contains("answer: ") && text.contains('%'), "{text}");
}

#[test]
fn a_model_folder_without_config_json() {
    let model = model();
    fs::remove_file(model.path().join("config.json")).unwrap();
    fails(
        &classify(model.path(), &picture(model.path())),
        &["config.json", "No such file"],
    );
}

#[test]
fn a_truncated_safetensors_file() {
    let model = model();
    let path = model.path().join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    for keep in [0, 5, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&path, &bytes[..keep]).unwrap();
        fails(
            &classify(model.path(), &picture(model.path())),
            &["model.safetensors"],
        );
    }
}

#[test]
fn a_wrong_tensor_shape() {
    let model = model();
    let path = model.path().join("config.json");
    let config = fs::read_to_string(&path).unwrap();
    let wrong = config.replace("\"intermediate_size\": 256", "\"intermediate_size\": 128");
    assert_ne!(config, wrong);
    fs::write(&path, wrong).unwrap();
    let parts = [
        "mlp.gate_proj.weight",
        "[256, 96]",
        "[128, 96]",
        "model.safetensors",
    ];
    fails(&classify(model.path(), &picture(model.path())), &parts);
}

#[test]
fn a_tokenizer_without_image_pad() {
    let model = model();
    let path = model.path().join("tokenizer.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("<|image_pad|>", "<|picture|>")).unwrap();
    fails(
        &classify(model.path(), &picture(model.path())),
        &["tokenizer.json", "<|image_pad|>"],
    );
}

#[test]
fn an_image_file_that_is_text() {
    let model = model();
    let path = model.path().join("notes.png");
    fs::write(&path, "this is not an image").unwrap();
    fails(&classify(model.path(), &path), &["notes.png"]);
}

#[test]
#[cfg(not(feature = "cuda"))]
fn a_device_without_its_feature() {
    let output = example("no_thinking_rl")
        .args(["--device", "cuda:0"])
        .output()
        .unwrap();
    fails(&output, &["cuda:0", "--features cuda"]);
}

#[test]
fn an_output_folder_that_cannot_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let out = file.join("run");
    let output = example("no_thinking_rl")
        .args(["--steps", "1", "--out"])
        .arg(&out)
        .output();
    fails(&output.unwrap(), &["file/run"]);
}

/// What is wrong with flags is bad input like any other; help is none.
#[test]
fn flags_that_are_none_and_flags_that_do_nothing() {
    let refused = |name: &str, flags: &[&str], parts: &[&str]| {
        let output = example(name).args(flags).output().unwrap();
        fails(&output, parts);
    };
    for name in [
        "base_to_new",
        "classify",
        "compare",
        "cross_dataset",
        "evaluate",
        "fine_tune",
        "no_thinking_rl",
        "report",
        "score",
        "splits",
    ] {
        refused(name, &["--no-such-flag"], &["--no-such-flag"]);
        let help = example(name).arg("--help").output().unwrap();
        assert_eq!(help.status.code(), Some(0), "{name}");
    }
    refused("fine_tune", &["--steps", "x"], &["--steps"]);
    for flag in ["--lora-rank", "--steps", "--learning-rate", "--resume"] {
        refused("evaluate", &[flag, "1"], &[flag]);
    }
    for name in ["fine_tune", "base_to_new", "evaluate", "cross_dataset"] {
        let both = ["--recipe", "sft", "--config", "run.toml"];
        refused(name, &both, &["--recipe", "--config"]);
        refused(name, &["--recipe", "xyz"], &["--recipe", "`xyz`", "cls_rl"]);
    }
    let choices = |names: &'static str| ["--image", "a.png", "--choices", names];
    refused(
        "classify",
        &choices("Bag,Coat, Bag"),
        &["--choices", "`Bag` twice"],
    );
    refused("classify", &choices("Bag,"), &["--choices", "empty"]);
    refused(
        "compare",
        &["--recipes", "sft,sft"],
        &["--recipes", "`sft` twice"],
    );
    refused("compare", &["--seeds", "1,2,1"], &["--seeds", "`1` twice"]);
    refused("compare", &["--seed", "1"], &["--seed", "--seeds"]);
}

#[test]
fn a_run_that_is_not_there_is_not_resumed() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("nowhere");
    let mut run = example("no_thinking_rl");
    let output = run.arg("--resume").arg("--out").arg(&out).output().unwrap();
    let shown = out.display().to_string();
    fails(&output, &["`fine_tune.out`", &shown, "does not exist"]);
    assert!(!out.exists());
}

#[test]
fn a_question_that_is_none_is_refused() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let image = picture(dir.path());
    for (question, said) in [(" ", "is empty"), ("Which?<|im_end|>", "<|im_end|>")] {
        let mut logits = example("logits");
        logits
            .arg("--model")
            .arg(model.path())
            .arg("--image")
            .arg(&image);
        logits
            .arg("--out")
            .arg(dir.path().join("logits.safetensors"));
        let output = logits.args(["--question", question]).output().unwrap();
        fails(&output, &[said]);
    }
}

#[test]
fn a_file_that_is_no_result_is_not_overwritten() {
    let (model, dir) = (model(), tempfile::tempdir().unwrap());
    let image = picture(dir.path());
    let before = fs::read(&image).unwrap();
    let mut logits = example("logits");
    logits.arg("--model").arg(model.path());
    logits.arg("--image").arg(&image).arg("--out").arg(&image);
    fails(&logits.output().unwrap(), &["--out", "is not replaced"]);
    let mut random = example("random_checkpoint");
    random.arg("--like").arg(model.path());
    let output = random.arg("--out").arg(&image).output().unwrap();
    fails(&output, &["--out", "no empty folder"]);
    assert_eq!(fs::read(&image).unwrap(), before);
}

#[test]
fn sizes_of_an_estimate_have_bounds() {
    let model = model();
    for (flag, value) in [
        ("--size", "0"),
        ("--G", "0"),
        ("--new", "18446744073709551615"),
        ("--recompute", "999"),
    ] {
        let mut memory = example("memory");
        memory.arg("--model").arg(model.path());
        fails(&memory.args([flag, value]).output().unwrap(), &[flag]);
    }
}

#[test]
fn an_evaluation_does_not_replace_another_file() {
    let dir = tempfile::tempdir().unwrap();
    let mine = dir.path().join("evaluation.json");
    fs::write(&mine, "{\"mine\": 1}").unwrap();
    for (out, said) in [(dir.path(), "is not replaced"), (&*mine, "is a file")] {
        let mut evaluate = example("evaluate");
        evaluate.current_dir(root()).arg("--out").arg(out);
        fails(&evaluate.output().unwrap(), &["--out", said]);
    }
    assert_eq!(fs::read_to_string(&mine).unwrap(), "{\"mine\": 1}");
}
