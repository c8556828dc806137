//! The examples that stand in pipes: one's output is another's input, and a reader may go early.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const FASHION: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/fashion-mnist");

/// An example's binary, which `cargo test` builds beside the tests.
fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let folder = test.parent().unwrap().parent().unwrap().join("examples");
    let binary = folder.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(binary.exists(), "{} is not built", binary.display());
    Command::new(binary)
}

fn splits(args: &[&str]) -> Output {
    example("splits").args(args).output().unwrap()
}

/// What `score` makes of these lines on its standard input.
fn score(args: &[&str], input: &str) -> Output {
    let mut command = example("score");
    command.args(args).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that stops at a bad line closes its input before all is written.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn lines(output: &Output) -> Vec<Value> {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{error}");
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn fails(output: &Output, parts: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{error}");
    assert!(!error.contains("panicked"), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn a_draw_goes_through_the_pipe() {
    let args = [
        "fashion",
        FASHION,
        "--json",
        "--shots",
        "4",
        "--subsample",
        "base",
    ];
    let rows = lines(&splits(&args));
    let train = rows.iter().filter(|row| row["split"] == "train");
    assert_eq!(
        train.count(),
        4 * 5,
        "four of each of the first five classes"
    );
    assert!(rows.iter().any(|row| row["split"] == "test"));
    assert!(rows.iter().all(|row| row["label"].as_u64().unwrap() < 5));

    // Right and wrong answers to these rows, in turn.
    let completions: Vec<String> = rows
        .iter()
        .enumerate()
        .map(|(index, row)| {
            let answer = if index % 2 == 0 {
                row["class"].clone()
            } else {
                json!("none")
            };
            json!({"completion": answer, "label": row["class"], "id": row["id"]}).to_string()
        })
        .collect();
    let output = score(&["--rules", "no_thinking"], &completions.join("\n"));
    let scored = lines(&output);
    assert_eq!(scored.len(), rows.len());
    for (index, (line, row)) in scored.iter().zip(&rows).enumerate() {
        let want = if index % 2 == 0 { 1.0 } else { 0.0 };
        assert_eq!(line["id"], row["id"]);
        assert_eq!(line["total"], want);
        assert_eq!(line["scores"], json!({"exact_completion": want}));
    }
    let table = String::from_utf8(output.stderr).unwrap();
    assert!(
        table.contains("0.500") && table.contains("exact_completion"),
        "{table}"
    );
}

#[test]
fn the_seed_makes_the_draw() {
    let draw =
        |seed| splits(&["fashion", FASHION, "--json", "--shots", "1", "--seed", seed]).stdout;
    assert_eq!(draw("1"), draw("1"));
    assert_ne!(draw("1"), draw("2"));
}

#[test]
fn a_report_counts_classes_and_shows_rows() {
    let output = splits(&["fashion", FASHION, "--shots", "2", "--rows", "1"]);
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("train: 20 images") && text.contains("Ankle boot"),
        "{text}"
    );
    assert_eq!(
        text.matches("28 x 28 grey").count(),
        2,
        "a row of each split: {text}"
    );
}

#[test]
fn other_sources_open() {
    let folder = tempfile::tempdir().unwrap();
    let rows = "{\"image\": \"a.png\", \"label\": \"cat\", \"problem\": \"Which pet?\"}\n\
                {\"image\": \"b.png\", \"label\": \"dog\", \"split\": \"test\"}\n";
    let path = write(folder.path(), "pets.jsonl", rows);
    for picture in ["a.png", "b.png"] {
        write(folder.path(), picture, "x");
    }
    let rows = lines(&splits(&["json-lines", path.to_str().unwrap(), "--json"]));
    assert_eq!(rows[0]["question"], "Which pet?");
    assert_eq!((rows.len(), &rows[1]["class"]), (2, &json!("dog")));

    let root = folder.path().join("images");
    for class in ["cat", "dog"] {
        fs::create_dir_all(root.join("train").join(class)).unwrap();
        fs::write(root.join("train").join(class).join("1.png"), b"x").unwrap();
    }
    let rows = lines(&splits(&["folder", root.to_str().unwrap(), "--json"]));
    assert_eq!(
        rows.iter().map(|row| &row["class"]).collect::<Vec<_>>(),
        ["cat", "dog"]
    );

    let pets = folder.path().join("oxford_pets");
    fs::create_dir(&pets).unwrap();
    let row = r#"[["x/1.jpg", 0, "pug"]]"#;
    let split = format!(r#"{{"train": {row}, "val": {row}, "test": {row}}}"#);
    write(&pets, "split_zhou_OxfordPets.json", &split);
    let root = folder.path().to_str().unwrap();
    let rows = lines(&splits(&["coop", root, "--set", "oxford_pets", "--json"]));
    assert_eq!(rows.len(), 3);
    fails(
        &splits(&["coop", root, "--set", "pets"]),
        &["`pets`", "oxford_pets"],
    );
    fails(
        &splits(&["coop", root, "--set", "dtd"]),
        &["split_zhou_DescribableTextures.json"],
    );
}

#[test]
fn rules_come_from_a_name_or_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let row = r#"{"completion": "<answer>a b</answer>", "label": "a_b", "choices": ["a_b"]}"#;
    let toml = "[[rules]]\nweight = 2.0\nrule = { type = \"strict_tag_accuracy\", \
                matcher = { underscore = \"ignore_case\" } }\n";
    let toml = write(folder.path(), "rules.toml", toml);
    let scored = lines(&score(&["--rules", toml.to_str().unwrap()], row));
    assert_eq!(scored[0]["total"], 2.0);

    let rule = r#"{"rule": {"type": "strict_tag_accuracy"}}"#;
    let json = write(folder.path(), "rules.json", &format!("[{rule}, {rule}]"));
    let scored = lines(&score(&["--rules", json.to_str().unwrap()], row));
    let want = json!({"strict_tag_accuracy": 0.0, "strict_tag_accuracy_2": 0.0});
    assert_eq!(scored[0]["scores"], want);

    let scored = lines(&score(&["--rules", "cv_bench"], row));
    assert_eq!(
        scored[0]["scores"]["cv_bench"],
        Value::Null,
        "the label is no letter"
    );
    assert_eq!(scored[0]["total"], Value::Null);

    let rules = write(folder.path(), "bad.toml", "[[rules]]\nweigth = 1.0\n");
    fails(
        &score(&["--rules", rules.to_str().unwrap()], row),
        &["bad.toml", "weigth"],
    );
    fails(
        &score(&["--rules", "cls-rl"], row),
        &["cls-rl", "strict_tag_accuracy"],
    );
    fails(&score(&["--rules", "gone.json"], row), &["gone.json"]);
}

#[test]
fn a_bad_line_is_named_and_those_before_it_are_scored() {
    let good = r#"{"completion": "x", "label": "x"}"#;
    for bad in [r#"{"completion": "x"}"#, "{", "[1]", "\u{feff}{}"] {
        let output = score(&[], &format!("{good}\n\n{bad}\n{good}\n"));
        fails(&output, &["standard input:3: "]);
        assert_eq!(
            output.stdout.iter().filter(|byte| **byte == b'\n').count(),
            1
        );
    }
    fails(
        &score(&[], r#"{"completion": "x"}"#),
        &["standard input:1", "`label`"],
    );
    let folder = tempfile::tempdir().unwrap();
    let path = write(folder.path(), "rows.jsonl", &format!("{good}\n{{}}\n"));
    fails(
        &score(&[path.to_str().unwrap()], ""),
        &["rows.jsonl:2: ", "`completion`"],
    );
    fails(&score(&["gone.jsonl"], ""), &["gone.jsonl"]);
}

#[test]
fn nothing_in_gives_nothing_out() {
    assert!(lines(&score(&[], "")).is_empty());
}

/// More than a pipe holds, of which the reader takes one line.
#[test]
fn a_reader_may_go_early() {
    let folder = tempfile::tempdir().unwrap();
    let row = r#"{"completion": "x", "label": "x"}"#;
    let rows = write(
        folder.path(),
        "rows.jsonl",
        &format!("{row}\n").repeat(20_000),
    );
    let mut score = example("score");
    score.arg(&rows);
    let mut splits = example("splits");
    splits.args(["fashion", FASHION, "--json"]);
    for mut command in [score, splits] {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut first = String::new();
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        reader.read_line(&mut first).unwrap();
        assert!(first.starts_with('{') && first.ends_with("}\n"), "{first}");
        drop(reader);
        let mut error = String::new();
        child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut error)
            .unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{error}");
        assert_eq!(error, "");
    }
}
