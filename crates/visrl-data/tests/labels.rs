//! What is told of labels, once for a file.

use std::fs;

use visrl_data::{Dataset, MemoryDataset, RowsConfig, Split};
use visrl_testing::warnings_of;

/// The classes of a file with these labels, and what is told of it.
fn open(labels: &[&str], classes: Option<&[&str]>) -> (Vec<String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    fs::write(folder.path().join("a.png"), b"").unwrap();
    let rows = labels.iter().map(|label| {
        format!(
            "{}\n",
            serde_json::json!({ "image": "a.png", "label": label })
        )
    });
    fs::write(&path, rows.collect::<String>()).unwrap();
    let config = RowsConfig {
        classes: classes.map(|classes| classes.iter().map(|&class| class.to_owned()).collect()),
        ..RowsConfig::default()
    };
    let (opened, told) = warnings_of(|| config.open(&path));
    let start = format!("{}: ", path.display());
    let told = told.iter().map(|text| text.replacen(&start, "", 1));
    (opened.unwrap().classes().to_vec(), told.collect())
}

#[test]
fn labels_that_a_reader_takes_for_one_are_told_unless_the_classes_are_given() {
    let labels = ["kite", "Kite", "great  grebe", "Great grebe", "a", "A"];
    let (classes, told) = open(&labels, None);
    assert_eq!(classes.len(), 6);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = "field `label`: `kite` and `Kite` differ in case or blanks alone, and 1 more such";
    assert!(told[0].starts_with(text), "{told:?}");
    assert!(open(&labels, Some(&labels)).1.is_empty());
    assert!(
        open(&["kite", "<answer>kite</answer>", "kite "], None)
            .1
            .is_empty()
    );
}

#[test]
fn a_thought_in_a_label_is_not_dropped_without_a_word() {
    let labels = [
        "kite",
        "<think>red</think><answer>drum</answer>",
        "a <answer>kite</answer>",
    ];
    let (classes, told) = open(&labels, None);
    assert_eq!(classes, ["drum", "kite"]);
    assert_eq!(told.len(), 1, "{told:?}");
    let text = "line 2: field `label`: holds more than an answer: of this and other such labels \
                the answer alone is taken, here `drum`";
    assert_eq!(told[0], text);
}

/// A file of rows with one picture, opened; and what is told of it.
fn rows(name: &str, text: &str) -> (Result<MemoryDataset, String>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("1.png"), b"\x89PNG\r\n\x1a\n").unwrap();
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    let (opened, told) = warnings_of(|| RowsConfig::default().open(&path));
    let start = format!("{}: ", path.display());
    let short = |text: String| text.replace(&start, "");
    let opened = opened.map_err(|error| short(error.to_string()));
    (opened, told.into_iter().map(short).collect())
}

#[test]
fn numbers_are_labels_as_they_are_written() {
    let numbers = [
        "2.50",
        "2.5",
        "1e3",
        "-0",
        "0",
        "18446744073709551616",
        "18446744073709551617",
    ];
    let row = |number: &&str| {
        format!(
            r#"{{"size": [1, {{"-2": 3.0}}], "image": "1.png", "solution": {number}, "w": "3\""}}"#
        )
    };
    let all: Vec<String> = numbers.iter().map(row).collect();
    for (name, text) in [
        ("rows.jsonl", all.join("\n")),
        ("rows.json", format!("\u{feff}[{}]", all.join(",\r\n "))),
    ] {
        let (opened, _) = rows(name, &text);
        let data = opened.unwrap();
        let records = data.records(Split::Train).unwrap().iter();
        let labels: Vec<&str> = records.map(|r| &*data.classes()[r.label]).collect();
        assert_eq!(labels, numbers, "{name}");
    }
}

#[test]
fn a_fault_in_a_line_names_one_line() {
    let good = r#"{"image": "1.png", "label": "a"}"#;
    let (opened, _) = rows("rows.jsonl", &format!("{good}\n{good}]\n"));
    let message = opened.unwrap_err();
    assert_eq!(
        message,
        "line 2: field `row`: trailing characters at column 33"
    );
}

#[test]
fn choices_must_hold_the_answer_once() {
    let row = |more: &str| format!(r#"{{"image": "1.png", "label": "kite", {more}}}"#);
    let list = |list: &str| {
        row(&format!(
            r#""problem": "Which?\nPlease choose one from list [ {list}].""#
        ))
    };
    for (text, fault) in [
        (
            row(r#""choices": ["drum", "lamp"]"#),
            "field `choices`: has the choices [ drum, lamp], of",
        ),
        (
            row(r#""choices": ["kite", "drum", "kite"]"#),
            "field `choices`: holds `kite` twice",
        ),
        (
            list("drum, lamp"),
            "field `problem`: has the choices [ drum, lamp], of which none is `kite`",
        ),
    ] {
        let message = rows("rows.jsonl", &text).0.unwrap_err();
        assert!(
            message.starts_with(&format!("line 1: {fault}")),
            "{message}"
        );
    }
    let (opened, told) = rows("rows.jsonl", &list("drum, kite, drum"));
    let data = opened.unwrap();
    let record = &data.records(Split::Train).unwrap()[0];
    assert_eq!(record.choices.as_deref().unwrap(), ["drum", "kite"]);
    assert_eq!(
        told,
        ["line 1: field `problem`: has `drum` twice in its list of choices, which is shown once"]
    );
}

#[test]
fn a_mark_that_names_an_image_again_is_told() {
    let row = r#"{"images": ["1.png"], "label": "a", "problem": "<image 1> Is it <image 1>?"}"#;
    let (opened, told) = rows("rows.jsonl", &format!("{row}\n{row}"));
    let data = opened.unwrap();
    let question = data.records(Split::Train).unwrap()[0].question.as_deref();
    assert_eq!(question, Some("Is it <image 1>?"));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("line 1: field `problem`: has <image 1> again"),
        "{told:?}"
    );
    let (opened, _) = rows("rows.jsonl", &row.replace("<image 1>", "<image 0>"));
    let fault = "line 1: field `problem`: has <image 0>, and there is one image, whose number is 1";
    assert_eq!(opened.unwrap_err(), fault);
}
