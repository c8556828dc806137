//! JSON lines and JSON arrays: what rows say is done, refused or told.

use std::fs;
use std::path::Path;

use visrl_data::{ColumnNames, Dataset, Error, MemoryDataset, RowsConfig, Split, Tool};
use visrl_testing::warnings_of;

/// Writes a file, and a picture by each of these names.
fn write(folder: &Path, name: &str, text: &str) {
    for picture in ["1.png", "2.png", "a/1.png", "a/2.png"] {
        let path = folder.join(picture);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"\x89PNG\r\n\x1a\n").unwrap();
    }
    fs::write(folder.join(name), text).unwrap();
}

fn open_told(text: &str, config: &RowsConfig) -> (Result<MemoryDataset, Error>, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "mine.jsonl", text);
    let path = folder.path().join("mine.jsonl");
    let (opened, told) = warnings_of(|| config.open(&path));
    let start = format!("{}: ", path.display());
    let told = told.iter().map(|text| text.replacen(&start, "", 1));
    (opened, told.collect())
}

fn open(text: &str) -> MemoryDataset {
    let (opened, told) = open_told(text, &RowsConfig::default());
    assert!(told.is_empty(), "{told:?}");
    opened.unwrap()
}

/// What is said of a second line.
fn refused(line: &str, config: &RowsConfig) -> String {
    let text = format!("{{\"image\": \"1.png\", \"label\": \"a\"}}\n{line}\n");
    let message = open_told(&text, config).0.unwrap_err().to_string();
    let (_, message) = message.split_once("mine.jsonl: ").unwrap();
    message.to_owned()
}

fn questions(data: &MemoryDataset, split: Split) -> Vec<(&str, &str, Option<&str>)> {
    let records = data.records(split).unwrap().iter();
    records
        .map(|r| {
            let class = &data.classes()[r.label];
            (&r.id[..], &class[..], r.question.as_deref())
        })
        .collect()
}

#[test]
fn rows_go_to_their_splits_and_keep_their_questions() {
    let data = open(
        r#"{"image": "a/1.png", "label": "pear"}

{"image": "a/2.png", "label": "apple", "problem": "Which fruit?", "split": "test"}"#,
    );
    assert_eq!(data.name(), "mine");
    assert_eq!(data.classes(), ["apple", "pear"]);
    assert_eq!(questions(&data, Split::Train), [("a/1.png", "pear", None)]);
    let test = [("a/2.png", "apple", Some("Which fruit?"))];
    assert_eq!(questions(&data, Split::Test), test);
    assert!(data.records(Split::Val).is_err());
    let place = data.records(Split::Test).unwrap()[0].row.place.clone();
    assert!(place.unwrap().to_string().ends_with("mine.jsonl: line 3"));
}

#[test]
fn labels_splits_and_marks_are_read_as_other_projects_write_them() {
    let data = open(
        r#"{"image": "1.png", "label": "<answer>kite</answer>", "problem": "<image>"}
{"image": "2.png", "label": "kite ", "split": "validation", "problem": "<image>\nWhich?"}
{"image": "1.png", "label": "drum", "split": "dev", "problem": "Which?"}
{"image": "2.png", "label": "kite", "split": "testing"}"#,
    );
    assert_eq!(data.classes(), ["drum", "kite"]);
    assert_eq!(questions(&data, Split::Train), [("1.png", "kite", None)]);
    let val = [
        ("2.png", "kite", Some("Which?")),
        ("1.png", "drum", Some("Which?")),
    ];
    assert_eq!(questions(&data, Split::Val), val);
}

#[test]
fn bad_lines_are_named_with_their_field() {
    let default = RowsConfig::default();
    for (line, message) in [
        ("{", "line 2: field `row`: EOF"),
        (
            "[1]",
            "line 2: field `row`: is a list, expected is an object",
        ),
        (
            r#"{"image": "1.png"}"#,
            "line 2: field `row`: has no column that holds the answer",
        ),
        (
            r#"{"image": "1.png", "label": null}"#,
            "line 2: field `label`: holds no answer",
        ),
        (
            r#"{"image": "1.png", "label": {}}"#,
            "line 2: field `label`: is an object",
        ),
        (
            r#"{"image": "1.png", "label": ["a", "b"]}"#,
            "line 2: field `label`: is a list of",
        ),
        (
            r#"{"image": "1.png", "label": " "}"#,
            "line 2: field `label`: is empty",
        ),
        (
            r#"{"image": "1.png", "label": "<answer> </answer>"}"#,
            "line 2: field `label`: is empty within",
        ),
        (
            r#"{"label": "a"}"#,
            "line 2: field `images`: holds no image",
        ),
        (
            r#"{"image": null, "label": "a"}"#,
            "line 2: field `image`: holds no image",
        ),
        (
            r#"{"image": 7, "label": "a"}"#,
            "line 2: field `image`: holds a number",
        ),
        (
            r#"{"image": "9.png", "label": "a"}"#,
            "line 2: field `image`: there is no file",
        ),
        (
            r#"{"image": "../1.png", "label": "a"}"#,
            "line 2: field `image`: `../1.png` is not a",
        ),
        (
            r#"{"image": "1.png", "images": ["2.png"], "label": "a"}"#,
            "line 2: field `images`: `images` and `image` are both filled",
        ),
        (
            r#"{"image": "1.png", "label": "a", "split": "eval"}"#,
            "line 2: field `split`: `eval` is no split; a split is train",
        ),
        (
            r#"{"image": "1.png", "label": "a", "split": 3}"#,
            "line 2: field `split`: `3` is no split",
        ),
        (
            r#"{"image": "1.png", "label": "a", "problem": ""}"#,
            "line 2: field `problem`: is empty; ask something",
        ),
        (
            r#"{"image": "1.png", "label": "a", "problem": ["x"]}"#,
            "line 2: field `problem`: turn 0 is a text",
        ),
        (
            r#"{"image": "1.png", "label": "a", "problem": "Which?<|im_end|>"}"#,
            "line 2: field `problem`: has <|im_end|> of a chat template",
        ),
        (
            r#"{"image": "1.png", "label": "a", "problem": "<image> or <image>?"}"#,
            "line 2: field `problem`: marks the places of 2 images, and there are 1",
        ),
        (
            r#"{"image": "1.png", "label": "a", "problem": "x", "question": "y"}"#,
            "line 2: field `problem`: `problem` and `question` could each be the question",
        ),
        (
            r#"{"image": "1.png", "answer": "a", "output": "b"}"#,
            "line 2: field `output`: `output` and `answer` could each be the answer",
        ),
        (
            r#"{"image": "1.png", "label": "a", "videos": ["1.mp4"]}"#,
            "line 2: field `videos`: is filled: a video",
        ),
        (
            r#"{"image": "1.png", "label": "a", "choices": "a, b"}"#,
            "line 2: field `choices`: is a text, expected is a list",
        ),
        (
            r#"{"image": "1.png", "image": "2.png", "label": "a"}"#,
            "line 2: field `row`: the field `image` is there twice",
        ),
    ] {
        let found = refused(line, &default);
        assert!(found.starts_with(message), "{line}: {found}");
    }
    for (field, limit) in [("image", 4096), ("label", 1024), ("problem", 65536)] {
        let text = |of| match of == field {
            true => "x".repeat(limit + 1),
            false if of == "image" => "1.png".into(),
            false => "y".into(),
        };
        let [image, label, problem] = ["image", "label", "problem"].map(text);
        let row = format!(r#"{{"image": "{image}", "label": "{label}", "problem": "{problem}"}}"#);
        let wanted = format!("line 2: field `{field}`: {} bytes", limit + 1);
        let found = refused(&row, &default);
        assert!(found.starts_with(&wanted), "{found}");
    }
    let missing = default.open("no/such.jsonl").unwrap_err();
    assert!(matches!(missing, Error::Missing { .. }));
}

#[test]
fn given_classes_set_the_order_and_name_numbers() {
    let config = |classes: &[&str]| RowsConfig {
        classes: Some(classes.iter().map(|&class| class.into()).collect()),
        ..Default::default()
    };
    let text = "{\"image\": \"1.png\", \"label\": \"a\"}\n";
    let data = open_told(text, &config(&["b", "a"])).0.unwrap();
    assert_eq!(data.records(Split::Train).unwrap()[0].label, 1);
    let found = refused(r#"{"image": "1.png", "label": "c"}"#, &config(&["a", "b"]));
    assert!(found.starts_with("line 2: field `label`: `c` is not one of the classes given"));
    let found = open_told(text, &config(&["a", "b", "a"])).0.unwrap_err();
    assert!(
        found
            .to_string()
            .contains("class `a` is both number 0 and number 2")
    );
    let numbers = "{\"image\": \"1.png\", \"label\": 1}\n";
    let data = open_told(numbers, &config(&["b", "a"])).0.unwrap();
    assert_eq!(questions(&data, Split::Train), [("1.png", "a", None)]);
    assert_eq!(
        questions(&open(numbers), Split::Train),
        [("1.png", "1", None)]
    );
}

#[test]
fn what_has_no_meaning_here_is_told_once() {
    let text = r#"{"image": "1.png", "label": "a", "foo": 1, "bar": null}
{"image": "2.png", "label": "b", "foo": 2, "classes": ["a", "b"]}"#;
    let (opened, told) = open_told(text, &RowsConfig::default());
    assert!(opened.is_ok());
    assert_eq!(
        told,
        ["`foo`, `classes` are not used: they mean nothing here"]
    );
    let (opened, told) = open_told(
        r#"{"image": "1.png", "label": "a", "solution": "b", "choices": ["b", "c"]}"#,
        &RowsConfig::default(),
    );
    let data = opened.unwrap();
    assert_eq!(told, ["`label` is not used: it means nothing here"]);
    assert_eq!(data.classes(), ["b"]);
    let choices = data.records(Split::Train).unwrap()[0].choices.clone();
    assert_eq!(choices.as_deref(), Some(&["b".to_owned(), "c".into()][..]));
}

#[test]
fn columns_are_found_by_the_names_that_are_given() {
    let names = |question: &str, answer: &str| RowsConfig {
        columns: ColumnNames {
            question: Some(question.into()),
            answer: Some(answer.into()),
            ..Default::default()
        },
        ..Default::default()
    };
    let text = r#"{"image": "1.png", "a": "cat", "prompt": "no", "extra_info": {"q": "Which?"}}"#;
    let (opened, told) = open_told(text, &names("extra_info.q", "a"));
    let data = opened.unwrap();
    assert_eq!(
        questions(&data, Split::Train),
        [("1.png", "cat", Some("Which?"))]
    );
    assert_eq!(told, ["`prompt` is not used: it means nothing here"]);
    let message = open_told(text, &names("extra_info.x", "a"))
        .0
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("mine.jsonl: line 1: field `extra_info.x`"),
        "{message}"
    );
    let message = open_told(text, &names("extra_info.q", "b"))
        .0
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("mine.jsonl: line 1: field `b`"),
        "{message}"
    );
}

#[test]
fn tools_read_the_same_columns_differently() {
    let by = |tool| RowsConfig {
        tool: Some(tool),
        ..Default::default()
    };
    let labelled = r#"{"query": "Which?", "image": "1.png", "label": "a"}"#;
    assert!(open_told(labelled, &by(Tool::MsSwift)).0.is_err());
    assert!(open_told(labelled, &by(Tool::Trl)).0.is_ok());
    let unmarked = r#"{"problem": "Which?", "images": ["1.png"], "answer": "a"}"#;
    assert_eq!(open_told(unmarked, &by(Tool::EasyR1)).1.len(), 1);
    assert!(open_told(unmarked, &by(Tool::MsSwift)).1.is_empty());
    let turns = r#"{"image": "1.png", "conversations":
        [{"from": "a", "value": "Is it <image> on?"}, {"from": "b", "value": "yes"}]}"#
        .replace('\n', " ");
    let (opened, _) = open_told(&turns, &by(Tool::VlmR1));
    let asked = [("1.png", "yes", Some("Is it  on?"))];
    assert_eq!(questions(&opened.unwrap(), Split::Train), asked);
}

#[test]
fn arrays_and_folders_of_splits_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let row = |label: &str| format!(r#"{{"image": "1.png", "label": "{label}"}}"#);
    let array = format!("\u{feff}[{},\r\n{}]", row("a"), row("b"));
    write(folder.path(), "train.json", &array);
    write(folder.path(), "test.jsonl", &row("b"));
    write(folder.path(), "notes.json", "{}");
    let data = RowsConfig::default().open(folder.path()).unwrap();
    assert_eq!(data.records(Split::Train).unwrap().len(), 2);
    assert_eq!(data.records(Split::Test).unwrap().len(), 1);
    for (text, message) in [
        (
            format!("[{}, 7]", row("a")),
            "train.json: row 1: field `row`: is a number",
        ),
        (
            format!("[{}, {{]", row("a")),
            "train.json: row 1: field `row`: key must be",
        ),
        (
            "[]".to_owned(),
            "train.json: file: field `row`: there is no row",
        ),
    ] {
        write(folder.path(), "train.json", &text);
        let found = RowsConfig::default().open(folder.path().join("train.json"));
        let found = found.unwrap_err().to_string();
        assert!(found.contains(message), "{found}");
    }
}

#[test]
fn turns_of_other_kinds_are_refused() {
    let turn =
        |role: &str, content: &str| format!(r#"{{"role": "{role}", "content": "{content}"}}"#);
    let (user, assistant) = (turn("user", "Which?"), turn("assistant", "a"));
    let row = |column: &str, turns: &[&String], more: &str| {
        let turns: Vec<&str> = turns.iter().map(|turn| &turn[..]).collect();
        format!(
            r#"{{"image": "1.png", "{column}": [{}]{more}}}"#,
            turns.join(", ")
        )
    };
    let system = turn("system", "Be brief.");
    let none = r#"{"role": "user", "content": null}"#.to_owned();
    for (column, turns, more, message) in [
        (
            "messages",
            &[&user, &assistant, &user][..],
            "",
            "has 2 questions and 1 answers",
        ),
        (
            "messages",
            &[&assistant, &user],
            "",
            "has the answer before the question",
        ),
        (
            "messages",
            &[&user, &system, &assistant],
            "",
            "has its system turn behind others",
        ),
        (
            "messages",
            &[&system, &assistant],
            "",
            "has no turn of the user",
        ),
        (
            "messages",
            &[&turn("tool", "x")],
            "",
            "turn 0 is of the role `tool`; turns of tools",
        ),
        ("messages", &[&none], "", "turn 0 has no `content`"),
        (
            "messages",
            &[&user, &turn("assistant", "<image>")],
            "",
            "marks the place of an image",
        ),
        ("messages", &[&user, &turn("assistant", "")], "", "is empty"),
        ("messages", &[&user], "", "holds no answer"),
        (
            "prompt",
            &[&user, &assistant],
            r#", "solution": "a""#,
            "ends in a turn of the assistant",
        ),
    ] {
        let found = refused(&row(column, turns, more), &RowsConfig::default());
        assert!(
            found.starts_with(&format!("line 2: field `{column}`: {message}")),
            "{found}"
        );
    }
    let question = "Is it <image> <image>, or <image 1>?";
    let two = turn("user", question);
    let found = refused(
        &row("messages", &[&two, &assistant], ""),
        &RowsConfig::default(),
    );
    assert!(
        found.contains("marks the places of 3 images, and there are 1"),
        "{found}"
    );
}

#[test]
fn numbered_marks_may_come_again() {
    let text = r#"{"images": ["1.png", "2.png"], "problem": "Is <image 2> as <image 1>? See <image 2>.", "label": "a"}"#;
    let (opened, told) = open_told(text, &RowsConfig::default());
    assert!(told[0].contains("has <image 2> again"), "{told:?}");
    let data = opened.unwrap();
    let record = &data.records(Split::Train).unwrap()[0];
    assert_eq!(record.question.as_deref(), Some("Is  as ? See <image 2>."));
    let layout = record.row.layout.as_deref().unwrap();
    let names: Vec<String> = layout.images().map(|image| image.name()).collect();
    assert!(
        names[0].ends_with("2.png") && names[1].ends_with("1.png"),
        "{names:?}"
    );
}

#[test]
fn turns_in_a_json_text_are_turns() {
    let data = open(
        r#"{"image": "1.png", "messages": "[{\"role\": \"user\", \"content\": \"Which?\"}]", "solution": "a"}
{"image": "2.png", "messages": " [{\"role\": \"user\", \"content\": \"What?\"}, {\"role\": \"assistant\", \"content\": \"b\"}]"}"#,
    );
    let train = [
        ("1.png", "a", Some("Which?")),
        ("2.png", "b", Some("What?")),
    ];
    assert_eq!(questions(&data, Split::Train), train);
    let message = refused(
        r#"{"image": "1.png", "messages": "[{'role': 'user'}]", "label": "a"}"#,
        &RowsConfig::default(),
    );
    assert!(
        message.starts_with("line 2: field `messages`: is a text"),
        "{message}"
    );
}

#[test]
fn a_row_asks_one_list_and_one_column_has_one_meaning() {
    let data = open(
        r#"{"image": "1.png", "problem": "Which? Please choose one from list [ b, a].", "choices": ["a", "b"], "label": "a"}"#,
    );
    assert_eq!(
        questions(&data, Split::Train),
        [("1.png", "a", Some("Which?"))]
    );
    let default = RowsConfig::default();
    for (line, text) in [
        (
            r#"{"image": "1.png", "problem": "Which? Please choose one from list [ a, c].", "choices": ["a", "b"], "label": "a"}"#,
            "field `choices`: are [ a, b], and `problem` ends in the list [ a, c]",
        ),
        (
            r#"{"image": "1.png", "problem": "Please choose one from list [ a, b]. Please choose one from list [ a, b].", "label": "a"}"#,
            "field `problem`: asks to choose from a second list",
        ),
    ] {
        let message = refused(line, &default);
        assert!(message.contains(text), "{message}");
    }
    for (column, what) in [("label", "answer"), ("image", "images")] {
        let mut config = RowsConfig::default();
        config.columns.question = Some(column.into());
        let (opened, _) = open_told(r#"{"image": "1.png", "label": "a"}"#, &config);
        let message = opened.unwrap_err().to_string();
        let text = format!("field `{column}`: is the question's column and that of the {what}");
        assert!(message.contains(&text), "{message}");
    }
}
