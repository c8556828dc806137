//! What is told of labels, once for a file.

use std::fs;

use visrl_data::{Dataset, RowsConfig};
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
