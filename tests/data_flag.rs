//! `--data` takes whatever lies at a path: each kind trains, and the first line says what it was
//! taken for.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use image::{GrayImage, Luma};
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

fn train(data: &Path, out: &Path, more: &[&str]) -> Output {
    let mut command = example("no_thinking_rl");
    command.arg("--data").arg(data).arg("--out").arg(out);
    command.args(["--steps", "3", "--shots", "2", "--generations", "2"]);
    command.args(["--test-per-class", "1"]).args(more);
    command.output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr))
}

/// A picture with a light square in the place that its number says.
fn picture(path: &Path, number: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut image = GrayImage::new(28, 28);
    for (x, y) in (0..8).flat_map(|x| (0..8).map(move |y| (x, y))) {
        image.put_pixel(x + number % 20, y + number / 2 % 20, Luma([250]));
    }
    image
        .save_with_format(path, image::ImageFormat::Png)
        .unwrap();
}

/// Pictures of two classes, and their rows.
fn pictures(root: &Path) -> Vec<(String, &'static str)> {
    let mut rows = Vec::new();
    for number in 0..6 {
        for class in ["Bag", "Coat"] {
            let file = format!("{class}/{number}.png");
            picture(&root.join(&file), number * 3 + u32::from(class == "Bag"));
            rows.push((file, class));
        }
    }
    rows
}

fn lines(rows: impl Iterator<Item = Value>) -> String {
    rows.map(|row| format!("{row}\n")).collect()
}

#[test]
fn each_kind_of_data_trains_and_says_what_it_was_taken_for() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("photos");
    let rows = pictures(&folder);

    let plain = folder.join("rows.jsonl");
    let split = |number: usize| if number < 8 { "train" } else { "test" };
    let all = rows.iter().enumerate();
    let text = lines(all.clone().map(
        |(number, (file, class))| json!({ "image": file, "label": class, "split": split(number) }),
    ));
    fs::write(&plain, text).unwrap();

    // Two pictures within the text, and a system turn.
    let turns = folder.join("turns.jsonl");
    let text = lines(all.clone().map(|(number, (file, class))| {
        json!({
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Is <image> what <image> is?" },
                { "role": "assistant", "content": class },
            ],
            "images": [file, rows[0].0],
            "split": split(number),
        })
    }));
    fs::write(&turns, text).unwrap();

    let set = root.path().join("oxford_pets");
    let label = |class: &str| u8::from(class == "Coat");
    let of = |from: usize, to: usize| -> Vec<Value> {
        let rows = rows[from..to].iter();
        rows.map(|(file, class)| json!([file, label(class), class]))
            .collect()
    };
    rows.iter().for_each(|(file, _)| {
        let to = set.join("images").join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(folder.join(file), to).unwrap();
    });
    let list = json!({ "train": of(0, 8), "val": of(8, 10), "test": of(10, 12) });
    fs::write(set.join("split_zhou_OxfordPets.json"), list.to_string()).unwrap();

    let classes = root.path().join("classes");
    for (number, (file, class)) in rows.iter().enumerate() {
        let to = classes.join(split(number)).join(class);
        fs::create_dir_all(&to).unwrap();
        fs::copy(folder.join(file), to.join(format!("{number}.png"))).unwrap();
    }

    let kinds: [(PathBuf, &str); 6] = [
        (
            FASHION.into(),
            "is read as IDX files with the classes of fashion-mnist",
        ),
        (classes, "is read as folders of images, one a class"),
        (set, "is read as one of CoOp's sets"),
        (plain, "is read as JSON lines"),
        (turns, "is read as JSON lines"),
        ("shapes".into(), "the data are shapes drawn by code"),
    ];
    for (number, (data, taken)) in kinds.into_iter().enumerate() {
        let out = root.path().join(format!("run-{number}"));
        let output = train(&data, &out, &[]);
        let (shown, told) = said(&output);
        assert_eq!(output.status.code(), Some(0), "{}: {told}", data.display());
        let first = shown.lines().next().unwrap();
        assert!(first.contains(taken), "{first}");
        assert!(!told.contains("is not used"), "{told}");
        let metrics = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), 3, "{}", data.display());
    }
}

#[test]
fn a_part_is_held_out_where_there_is_no_test_split() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("photos");
    pictures(&folder);
    let out = root.path().join("run");
    let refused = train(&folder, &out, &[]);
    let (_, told) = said(&refused);
    assert_eq!(refused.status.code(), Some(1), "{told}");
    assert!(
        told.contains("has no test split") && told.contains("test_fraction"),
        "{told}"
    );
    assert!(!out.exists());

    let flags = ["--test-fraction", "0.34", "--checkpoint-every", "1"];
    let output = train(&folder, &out, &flags);
    let (_, told) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    let name = "photos (34 % held out as test by seed 100)";
    assert_eq!(summary["data"]["test"], name);
    let run = fs::read_to_string(out.join("run.toml")).unwrap();
    assert!(run.contains("test_fraction = 0.34"), "{run}");

    let mut resume = example("no_thinking_rl");
    resume.args(["--resume", "--steps", "4", "--out"]).arg(&out);
    let (_, told) = said(&resume.output().unwrap());
    let summary = fs::read_to_string(out.join("summary.json")).unwrap();
    let summary: Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(
        (&summary["data"]["test"], &summary["steps"]),
        (&json!(name), &json!(4)),
        "{told}"
    );
}

#[test]
fn splits_prints_what_a_prompt_shows() {
    let root = tempfile::tempdir().unwrap();
    let rows = pictures(root.path());
    let path = root.path().join("rows.jsonl");
    let row = json!({
        "query": "Is <image> a bag?", "response": "yes", "pics": rows[0].0, "more": 1, "system": "",
    });
    fs::write(&path, row.to_string()).unwrap();
    let mut splits = example("splits");
    splits
        .args(["--json", "--images", "pics", "--data"])
        .arg(&path);
    let output = splits.output().unwrap();
    let (shown, told) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(
        told.contains("`more` is not used") && told.lines().count() == 1,
        "{told}"
    );
    let row: Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(row["question"], "Is  a bag?");
    let parts = json!([{ "text": "Is " }, { "image": 0 }, { "text": " a bag?" }]);
    assert_eq!(row["parts"], parts);
    assert_eq!(
        (&row["answer"], &row["system"], &row["line"]),
        (&json!("yes"), &json!(""), &json!(1))
    );

    let mut splits = example("splits");
    splits.args(["--images", "pictures", "--data"]).arg(&path);
    let (_, told) = said(&splits.output().unwrap());
    assert!(
        told.contains("rows.jsonl: line 1: field `pictures`"),
        "{told}"
    );
}

#[test]
fn a_flag_that_means_nothing_for_the_kind_of_data_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("photos");
    let rows = pictures(&folder);
    let file = root.path().join("rows.jsonl");
    let row = json!({ "image": format!("photos/{}", rows[0].0), "label": "Bag" });
    fs::write(&file, row.to_string()).unwrap();
    let refused = |args: &[&str], data: &Path, parts: &[&str]| {
        let mut splits = example("splits");
        splits.args(args).arg("--data").arg(data);
        let output = splits.output().unwrap();
        let (_, told) = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {told}");
        for part in parts {
            assert!(told.contains(part), "`{part}` is not in: {told}");
        }
    };
    let nothing = |flag: &str| format!("`{flag}` means nothing here");
    let fashion = Path::new(FASHION);
    let shapes = Path::new("shapes");
    for (args, data) in [
        (["--classes", "Bag,Coat"], &*folder),
        (["--split", "test"], &folder),
        (["--set", "dtd"], &folder),
        (["--set", "dtd"], &file),
        (["--set", "dtd"], fashion),
        (["--question", "x"], fashion),
        (["--tool", "verl"], fashion),
        (["--classes", "Bag,Coat"], shapes),
        (["--images-folder", "photos"], shapes),
    ] {
        refused(&args, data, &[&nothing(args[0])]);
    }
    refused(&["--any-path"], &folder, &[&nothing("--any-path")]);
    refused(
        &["--data-kind", "shapes"],
        &folder,
        &["--data-kind shapes", "--data shapes"],
    );
    refused(
        &["--data-kind", "coop"],
        &folder,
        &["photos", "--data-kind"],
    );
    fs::copy(&file, folder.join("train.jsonl")).unwrap();
    refused(
        &[],
        &folder,
        &["could be image-folder or rows; say which by --data-kind"],
    );
    // The trainers take the same flags.
    let out = root.path().join("run");
    let (_, told) = said(&train(fashion, &out, &["--answer", "x"]));
    assert!(
        told.contains(&nothing("--answer")) && !out.exists(),
        "{told}"
    );
}

#[test]
fn what_a_row_cannot_be_trained_with_is_named_by_file_line_and_column() {
    let root = tempfile::tempdir().unwrap();
    let rows = pictures(root.path());
    let damaged = root.path().join("damaged.png");
    let whole = fs::read(root.path().join(&rows[0].0)).unwrap();
    fs::write(&damaged, &whole[..whole.len() / 2]).unwrap();
    let long = "so ".repeat(4000);
    let file = root.path().join("rows.jsonl");
    for (bad, field) in [
        (
            json!({ "images": ["damaged.png"], "problem": "Which?" }),
            "images",
        ),
        (json!({ "images": [rows[0].0], "problem": long }), "problem"),
    ] {
        for split in ["train", "test"] {
            let mut all: Vec<Value> = rows
                .iter()
                .enumerate()
                .map(|(number, (file, class))| {
                    let split = if number < 8 { "train" } else { "test" };
                    json!({ "images": [file], "problem": "Which?", "solution": class, "split": split })
                })
                .collect();
            let mut bad = bad.clone();
            bad["solution"] = json!("Bag");
            bad["split"] = json!(split);
            all.insert(4, bad);
            fs::write(&file, lines(all.into_iter())).unwrap();
            let out = root.path().join("run");
            let mut command = example("no_thinking_rl");
            command.arg("--data").arg(&file).arg("--out").arg(&out);
            command.args(["--steps", "3", "--shots", "5", "--test-per-class", "0"]);
            let output = command.output().unwrap();
            let (_, told) = said(&output);
            assert_eq!(output.status.code(), Some(1), "{told}");
            let place = format!("rows.jsonl: line 5: field `{field}`");
            assert!(told.contains(&place), "`{place}` is not in: {told}");
            assert!(!out.exists());
        }
    }
}
