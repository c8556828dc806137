//! Ctrl-C ends the main job after its step, with a checkpoint; resumed, it is the run that was never
//! interrupted.
#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;

const STEPS: usize = 60;

/// The main job, whose binary `cargo test` builds beside the tests, shortened.
fn main_job(out: &Path) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join("no_thinking_rl");
    assert!(binary.exists(), "{} is not built", binary.display());
    let mut command = Command::new(binary);
    let steps = STEPS.to_string();
    command.args([
        "--steps",
        &steps,
        "--generations",
        "4",
        "--test-per-class",
        "1",
    ]);
    command.arg("--out").arg(out);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Waits until so many steps are in the metrics.
fn wait_for(steps: usize, out: &Path, child: &mut Child) {
    let begun = Instant::now();
    loop {
        let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap_or_default();
        if text.lines().count() >= steps {
            return;
        }
        assert_eq!(child.try_wait().unwrap(), None, "the run ended early");
        assert!(begun.elapsed() < Duration::from_secs(300), "no steps");
        sleep(Duration::from_millis(2));
    }
}

/// Metrics without times, and weights.
fn outcome(out: &Path) -> (Vec<Value>, Vec<u8>) {
    let text = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let metrics = text.lines().map(|line| {
        let mut step: Value = serde_json::from_str(line).unwrap();
        assert!(step.as_object_mut().unwrap().remove("seconds").is_some());
        step
    });
    let weights = fs::read(out.join("model/model.safetensors")).unwrap();
    (metrics.collect(), weights)
}

fn finish(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    output
}

#[test]
fn an_interrupted_main_job_goes_on_to_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let said = String::from_utf8(finish(&mut main_job(&whole)).stdout).unwrap();
    let run = fs::read_to_string(whole.join("run.toml")).unwrap();
    // The embedded data by a path without steps up.
    assert!(said.contains("assets/fashion-mnist is read as"), "{said}");
    assert!(!said.contains("..") && !run.contains(".."), "{said}{run}");

    let out = dir.path().join("interrupted");
    let mut child = main_job(&out).spawn().unwrap();
    wait_for(3, &out, &mut child);
    let pid = child.id().to_string();
    let kill = Command::new("kill").args(["-INT", &pid]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{error}");
    let hint = format!("go on with --resume --out {}", out.display());
    assert!(
        error.contains("interrupted after") && error.contains(&hint),
        "{error}"
    );
    let made = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let made = made.lines().count();
    assert!((3..STEPS).contains(&made), "{made} steps");
    assert!(out.join(format!("checkpoints/step-{made}")).is_dir());
    assert!(!out.join("summary.json").exists() && !out.join("model").exists());

    // As the hint says: the run's own file has the rest.
    let mut resumed = Command::new(main_job(&out).get_program());
    finish(resumed.arg("--resume").arg("--out").arg(&out));
    let (metrics, weights) = outcome(&out);
    let (whole_metrics, whole_weights) = outcome(&whole);
    assert_eq!(metrics.len(), STEPS);
    assert_eq!(metrics, whole_metrics);
    assert!(weights == whole_weights, "weights differ");
    let samples = |out: &Path| fs::read(out.join("samples.jsonl")).unwrap();
    assert!(samples(&out) == samples(&whole));
}
