//! CV-Bench and SAT: questions with options of their own.

#[cfg(feature = "parquet")]
mod parquet_file;

use std::path::{Path, PathBuf};

#[cfg(feature = "parquet")]
use parquet_file::{Column, Form};
use visrl_core::ImageSource;
use visrl_data::{
    ChoiceList, ChoiceRule, CvBench, CvBenchConfig, CvBenchTask, Dataset, Error, MemoryDataset,
    Method, PromptTemplate, SatAnswers, SatConfig, SeveralImages, Split, Wording,
};

const PROMPT: &str = "How many organs are in the image? Select from the following choices.\n\
                      (A) 3\n(B) 2\n(C) 1\n(D) 0";

fn row(change: impl Fn(&mut serde_json::Value)) -> String {
    let mut row = serde_json::json!({
        "idx": 0, "type": "2D", "task": "Count", "filename": "img/2D/count/ade20k_10.png",
        "question": "How many organs are in the image?", "choices": ["3", "2", "1", "0"],
        "answer": "(C)", "prompt": PROMPT, "source": "ADE20K", "target_class": null, "bbox": null
    });
    change(&mut row);
    row.to_string()
}

fn file(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// What must hold however the questions were stored.
fn check_first(bench: &CvBench) {
    let list = ChoiceList::new(ChoiceRule::Open, 1);
    let examples = bench.examples(Split::Test, &list, 0).unwrap();
    let first = &examples[0];
    assert_eq!(first.id, "img/2D/count/ade20k_10.png");
    assert_eq!((&first.question[..], &first.label[..]), (PROMPT, "(C)"));
    assert_eq!(first.choices, ["3", "2", "1", "0"]);
    let template = PromptTemplate::multiple_choice(Method::NoThinking, Wording::CvBench);
    assert_eq!(
        template.text(first),
        format!("{PROMPT}\nPlease directly output the answer.")
    );
    let facts = &bench.facts()[0];
    assert_eq!(facts.task, CvBenchTask::Count);
    assert_eq!((&facts.kind[..], &facts.source[..]), ("2D", "ADE20K"));
    assert_eq!(
        bench.records(Split::Test).unwrap().len(),
        bench.facts().len()
    );
    assert!(bench.records(Split::Train).is_err());
}

#[test]
fn cv_bench_is_read_from_json_lines() {
    let folder = tempfile::tempdir().unwrap();
    let depth = row(|row| {
        row["task"] = "Depth".into();
        row["choices"] = ["chair", "lamp"].map(String::from).to_vec().into();
        row["answer"] = "(A)".into();
        row["prompt"] = serde_json::Value::Null;
        row["question"] = "Which is closer?".into();
    });
    let text = format!("{}\n{depth}\n", row(|_| {}));
    file(folder.path(), "test_2d.jsonl", &text);
    file(folder.path(), "test_3d.jsonl", &depth);
    let bench = CvBenchConfig::default().open(folder.path()).unwrap();
    check_first(&bench);
    assert_eq!(bench.facts().len(), 3);
    assert_eq!(bench.classes(), ["(A)", "(B)", "(C)", "(D)"]);
    let records = bench.records(Split::Test).unwrap();
    let image = folder.path().join("img/2D/count/ade20k_10.png");
    assert_eq!(records[0].image, ImageSource::path(image));
    assert_eq!(
        records[1].question.as_deref(),
        Some("Which is closer? Select from the following choices.\n(A) chair\n(B) lamp")
    );
    let counts = CvBenchTask::ALL.map(|task| {
        let part = bench.of_task(task).unwrap();
        part.records(Split::Test).unwrap().len()
    });
    assert_eq!(counts, [1, 0, 2, 0]);
    let config = CvBenchConfig {
        tasks: vec![CvBenchTask::Depth],
        ..Default::default()
    };
    assert_eq!(config.open(folder.path()).unwrap().facts().len(), 2);
}

#[cfg(feature = "parquet")]
#[test]
fn cv_bench_is_read_from_parquet() {
    let schema = "message m {
        optional int64 idx;
        optional binary type (UTF8);
        optional binary task (UTF8);
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional binary question (UTF8);
        optional group choices (LIST) { repeated group list { optional binary element (UTF8); } }
        optional binary answer (UTF8);
        optional binary prompt (UTF8);
        optional binary filename (UTF8);
        optional binary source (UTF8);
    }";
    let lists = [vec!["3", "2", "1", "0"], vec!["yes", "no"], vec![]];
    let lists = lists.map(|list| list.into_iter().map(String::from).collect::<Vec<_>>());
    for form in Form::all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("test.parquet");
        let write = |rows: usize| {
            let twice = |first: &'static str, second: &'static str| {
                Column::texts((0..rows).map(|i| if i == 0 { first } else { second }))
            };
            let columns = [
                Column::Ints((0..rows).map(|i| Some(i as i64)).collect()),
                twice("2D", "3D"),
                twice("Count", "Distance"),
                Column::inside((0..rows).map(|i| Some(vec![i as u8; 3]))),
                Column::inside((0..rows).map(|_| None)),
                twice("How many organs are in the image?", "Closer?"),
                Column::Lists(lists[..rows].to_vec()),
                twice("(C)", "(B)"),
                twice(PROMPT, ""),
                twice("img/2D/count/ade20k_10.png", "img/3D/2.png"),
                twice("ADE20K", "Omni3D"),
            ];
            parquet_file::write(&path, schema, &columns, &form);
        };
        write(2);
        let bench = CvBenchConfig::default().open(folder.path()).unwrap();
        check_first(&bench);
        let second = &bench.records(Split::Test).unwrap()[1];
        assert!(matches!(&second.image, ImageSource::Encoded { bytes, .. } if bytes[..] == [1; 3]));
        assert_eq!(second.choices.as_deref().unwrap(), ["yes", "no"]);
        assert_eq!(
            (second.label, bench.facts()[1].task),
            (1, CvBenchTask::Distance)
        );

        write(3);
        let error = CvBenchConfig::default()
            .open(&path)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("test[2]: field `choices`: there are 0"),
            "{error}"
        );
    }
}

#[test]
fn faults_in_cv_bench_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = |change: &dyn Fn(&mut serde_json::Value)| {
        let text = format!("{}\n{}", row(|_| {}), row(change));
        let path = file(folder.path(), "test.jsonl", &text);
        CvBenchConfig::default().open(path).unwrap_err().to_string()
    };
    for answer in ["(E)", "1", "", "(c)"] {
        let found = error(&|row| row["answer"] = answer.into());
        let expected = format!("line 2: field `answer`: `{answer}` is not one of the letters of");
        assert!(found.contains(&expected), "{found}");
    }
    let found = error(&|row| row["task"] = "Colour".into());
    assert!(found.contains("field `task`: `Colour` is not one of Count, Relation, Depth"));
    let found = error(&|row| row["choices"] = vec!["3".to_owned()].into());
    assert!(found.contains("field `choices`: there are 1"), "{found}");
    let found = error(&|row| row["filename"] = serde_json::Value::Null);
    assert!(found.contains("field `filename`: is missing"), "{found}");
    let found = error(&|row| row["filename"] = "/etc/passwd".into());
    assert!(
        found.contains("line 2: field `image`: `/etc/passwd` is not a relative path"),
        "{found}"
    );
    let empty = tempfile::tempdir().unwrap();
    let found = CvBenchConfig::default().open(empty.path()).unwrap_err();
    assert!(
        found
            .to_string()
            .contains("none of CV-Bench's files is here")
    );
}

fn sat_row(question: &str, answer: &str, images: &[&str]) -> serde_json::Value {
    serde_json::json!({
        "messages": [
            {"role": "user", "content": format!("<image> {question}")},
            {"role": "assistant", "content": answer},
        ],
        "images": images,
    })
}

fn sat(
    config: &SatConfig,
    rows: &[serde_json::Value],
    lines: bool,
) -> Result<MemoryDataset, Error> {
    let folder = tempfile::tempdir().unwrap();
    let text = match lines {
        true => rows.iter().map(|row| format!("{row}\n")).collect(),
        false => serde_json::Value::from(rows).to_string(),
    };
    config.open(file(folder.path(), "SAT_train.json", &text))
}

const INLINE: &str = "How many chairs? Choose between the following options: 4, 3 or 2";
const LETTERED: &str = "Is it near?\n(A) yes\n(B) no";

#[test]
fn sat_is_read_from_an_array_and_from_lines() {
    let rows = [
        sat_row(INLINE, "3", &["SAT_images_train/0_0.png"]),
        sat_row(LETTERED, "(B)", &["SAT_images_train/0_0.png"]),
        sat_row("What colour?", "red", &["SAT_images_train/1_0.png"]),
    ];
    for lines in [true, false] {
        let dataset = sat(&SatConfig::default(), &rows, lines).unwrap();
        assert_eq!((dataset.name(), dataset.classes().len()), ("SAT_train", 3));
        let list = ChoiceList::new(ChoiceRule::Open, 1);
        let examples = dataset.examples(Split::Train, &list, 0).unwrap();
        let labels: Vec<&str> = examples.iter().map(|e| &e.label[..]).collect();
        assert_eq!(labels, ["3", "(B)", "red"]);
        let ids: Vec<&str> = examples.iter().map(|e| &e.id[..]).collect();
        let first = "SAT_images_train/0_0.png";
        assert_eq!(
            ids,
            [first, &format!("{first}#2"), "SAT_images_train/1_0.png"]
        );
        assert_eq!(examples[0].question, INLINE);
        assert!(examples[0].choices.is_empty());
        assert_eq!(examples[1].choices, ["yes", "no"]);
        assert!(
            examples[1]
                .image
                .name()
                .ends_with("SAT_images_train/0_0.png")
        );
    }
}

#[test]
fn sat_answers_become_letters() {
    let config = SatConfig {
        answers: SatAnswers::Letters,
        ..Default::default()
    };
    let rows = [
        sat_row(INLINE, "3", &["0.png"]),
        sat_row(LETTERED, "no", &["1.png"]),
        sat_row(LETTERED, "A", &["2.png"]),
    ];
    let dataset = sat(&config, &rows, false).unwrap();
    assert_eq!(dataset.classes(), ["(A)", "(B)"]);
    let records = dataset.records(Split::Train).unwrap();
    let labels: Vec<usize> = records.iter().map(|record| record.label).collect();
    assert_eq!(labels, [1, 1, 0]);
    assert_eq!(
        records[0].question.as_deref(),
        Some("How many chairs? Select from the following choices.\n(A) 4\n(B) 3\n(C) 2")
    );
    assert_eq!(records[0].choices.as_deref().unwrap(), ["4", "3", "2"]);
    assert_eq!(records[1].question.as_deref(), Some(LETTERED));

    let open = [sat_row("What colour?", "red", &["1.png"])];
    let found = sat(&config, &open, true).unwrap_err().to_string();
    assert!(
        found.contains("line 1: field `messages`: the question has no options"),
        "{found}"
    );
}

#[test]
fn faults_in_sat_are_named() {
    let default = SatConfig::default();
    let good = sat_row(LETTERED, "A", &["0.png"]);
    let error = |row: serde_json::Value| {
        let rows = [good.clone(), row];
        sat(&default, &rows, false).unwrap_err().to_string()
    };
    let found = error(sat_row(LETTERED, "C", &["0.png"]));
    assert!(
        found.contains("row 1: field `messages`: `C` is not one of the options [ yes, no]"),
        "{found}"
    );
    let found = error(sat_row("Q?", "a", &[]));
    assert!(found.contains("row 1: field `images`: is empty"), "{found}");
    let found = error(sat_row("Q?", "a", &["../0.png"]));
    assert!(
        found.contains("row 1: field `images`: `../0.png` is not a relative path"),
        "{found}"
    );
    let found = error(sat_row("Q?", " ", &["0.png"]));
    assert!(found.contains("row 1: field `answer`: is empty"), "{found}");
    let mut turns = good.clone();
    turns["messages"][1]["role"] = "user".into();
    let found = error(turns);
    assert!(
        found.contains("field `messages`: not one turn of role `user`"),
        "{found}"
    );
    assert!(error(serde_json::json!({"images": []})).contains("missing field `messages`"));

    let two = [good.clone(), sat_row("Q?", "a", &["0.png", "1.png"])];
    let found = sat(&default, &two, false).unwrap_err().to_string();
    assert!(
        found.contains("row 1: field `images`: there are 2; set `several_images`"),
        "{found}"
    );
    for (several_images, rows) in [(SeveralImages::Skip, 1), (SeveralImages::First, 2)] {
        let config = SatConfig {
            several_images,
            split: Split::Val,
            ..Default::default()
        };
        let dataset = sat(&config, &two, true).unwrap();
        assert_eq!(dataset.records(Split::Val).unwrap().len(), rows);
    }
}
