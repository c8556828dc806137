use std::borrow::Cow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::error::Error;
use crate::files::limits::{MAX_PATH, MAX_QUESTION, check_length};
use crate::files::lines::for_each_line;
use crate::files::paths::join_below;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::sources::image_markers::{own_question, without_markers};
use crate::sources::labels::LabelIndex;
use crate::sources::questions::{OBJECT_QUESTION, Questions};
use crate::split::Split;

/// A data set in JSON lines: one object per image with the fields `image` (a path) and `label` (the
/// answer, by [`plain_label`](crate::plain_label)), and optionally `problem` (the image's own
/// question, without marks such as `<image>`) and `split` (by [`Split::named`]; `train` without
/// it). Other fields are ignored, and so are blank lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct JsonLinesConfig {
    /// The question for rows without a `problem`.
    pub question: String,
    /// The class names in label order, if their order matters or some have no row; otherwise the
    /// labels of the file, sorted.
    pub classes: Option<Vec<String>>,
    /// Allow absolute paths and `..` in `image`. Off by default, so that a file from elsewhere
    /// cannot point at images outside its folder.
    pub any_path: bool,
}

impl Default for JsonLinesConfig {
    fn default() -> Self {
        Self {
            question: OBJECT_QUESTION.into(),
            classes: None,
            any_path: false,
        }
    }
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    image: Cow<'a, str>,
    #[serde(borrow)]
    label: Cow<'a, str>,
    #[serde(borrow)]
    problem: Option<Cow<'a, str>>,
    #[serde(borrow)]
    split: Option<Cow<'a, str>>,
}

impl JsonLinesConfig {
    /// Reads a file in one pass; images are relative to its folder. The data set is named like the
    /// file, a record's id is its `image`. A row costs its path and about 200 bytes; labels and
    /// questions that recur are held once.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] or [`Error::File`]; [`Error::Row`] with the line that does not parse,
    /// or has a label without a name, a split without one, or marks of several images;
    /// [`Error::TooLarge`] for a line beyond 1 MiB, a path beyond 4 KiB, a label beyond 1 KiB or a
    /// question beyond 64 KiB; [`Error::UnknownLabel`] for a label that is not among the given
    /// classes, [`Error::DuplicateClass`] for a class given twice; [`Error::ImagePath`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let path = path.as_ref();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut labels = LabelIndex::new(path, self.classes.as_deref())?;
        let question = own_question(&self.question)?;
        let mut questions = Questions::default();
        let mut splits: [Option<Vec<Record>>; 3] = [None, None, None];
        for_each_line(path, "a file of JSON lines", |line, text| {
            let name = || format!("line {line}");
            let row: Row<'_> = serde_json::from_slice(text).map_err(|error| Error::Row {
                path: path.to_path_buf(),
                row: name(),
                field: "row",
                message: error.to_string(),
            })?;
            check_length(&row.image, MAX_PATH, path, name, "image")?;
            let file = match self.any_path {
                true => folder.join(&*row.image),
                false => join_below(folder, &row.image, path, name)?,
            };
            let label = labels.place(&row.label, name, "label")?;
            let mut record = Record::new(row.image, ImageSource::path(file), label);
            if let Some(problem) = row.problem {
                check_length(&problem, MAX_QUESTION, path, name, "problem")?;
                let asked = without_markers(&problem, path, name, "problem")?;
                record.question = asked.map(|asked| questions.share(&asked));
            }
            let split = match row.split {
                None => Split::Train,
                Some(split) => Split::named(&split).ok_or_else(|| Error::Row {
                    path: path.to_path_buf(),
                    row: name(),
                    field: "split",
                    message: format!("`{split}` is no split; a split is {}", Split::NAMES),
                })?,
            };
            splits[split as usize].get_or_insert_default().push(record);
            Ok(())
        })?;
        labels.tell_alike("label");
        let classes = labels.finish(splits.iter_mut().flatten().flatten());
        let name = path
            .file_stem()
            .map_or("images".into(), |name| name.to_string_lossy());
        let mut dataset = MemoryDataset::new(name, classes, question);
        for (split, records) in Split::ALL.into_iter().zip(splits) {
            if let Some(records) = records {
                dataset = dataset.with_split(split, records)?;
            }
        }
        Ok(dataset)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::dataset::Dataset;

    fn open(text: &str, config: &JsonLinesConfig) -> Result<MemoryDataset, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jsonl");
        fs::write(&path, text).unwrap();
        let dataset = config.open(&path)?;
        let train = dataset.records(Split::Train).unwrap();
        assert!(
            train[0]
                .image
                .name()
                .starts_with(folder.path().to_str().unwrap())
        );
        Ok(dataset)
    }

    #[test]
    fn rows_go_to_their_splits_and_keep_their_questions() {
        let text = r#"{"image": "a/1.png", "label": "pear", "more": 1}

{"image": "a/2.png", "label": "apple", "problem": "Which fruit?", "split": "test"}"#;
        let dataset = open(text, &JsonLinesConfig::default()).unwrap();
        assert_eq!(
            (dataset.name(), dataset.classes()),
            ("mine", &["apple".into(), "pear".into()][..])
        );
        let train = &dataset.records(Split::Train).unwrap()[0];
        assert_eq!(
            (train.id.as_str(), train.label, &train.question),
            ("a/1.png", 1, &None)
        );
        let test = &dataset.records(Split::Test).unwrap()[0];
        assert_eq!(
            dataset.example(test, vec![]).unwrap().question,
            "Which fruit?"
        );
        assert!(dataset.records(Split::Val).is_err());
    }

    #[test]
    fn bad_lines_are_named() {
        let error = |line: &str, config: &JsonLinesConfig| {
            let text = format!("{{\"image\": \"1.png\", \"label\": \"a\"}}\n{line}\n");
            open(&text, config).unwrap_err().to_string()
        };
        let default = JsonLinesConfig::default();
        assert!(error("{", &default).contains("mine.jsonl: line 2: field `row`: EOF"));
        assert!(error(r#"{"image": "x"}"#, &default).contains("missing field `label`"));
        assert!(error(r#"{"image": "../x", "label": "a"}"#, &default).contains("line 2: `../x`"));
        let split = r#"{"image": "x", "label": "a", "split": "eval"}"#;
        let message = error(split, &default);
        assert!(message.contains("line 2: field `split`: `eval` is no split; a split is train"));
        for (label, fault) in [("<answer> </answer>", "is empty within"), (" ", "is empty")] {
            let message = error(
                &format!(r#"{{"image": "x", "label": "{label}"}}"#),
                &default,
            );
            assert!(
                message.contains(&format!("line 2: field `label`: {fault}")),
                "{message}"
            );
        }
        let two = r#"{"image": "x", "label": "a", "problem": "<image> or <image>?"}"#;
        let message = error(two, &default);
        assert!(message.contains("line 2: field `problem`: marks the places of 2 images"));
        let long = format!(r#"{{"image": "{}"}}"#, "x".repeat(1 << 20));
        assert!(error(&long, &default).contains("line 2: field `row`: 1048577 bytes or more"));
        for (field, limit) in [("image", 4096), ("label", 1024), ("problem", 65536)] {
            let text = |of| {
                if of == field {
                    "x".repeat(limit + 1)
                } else {
                    "y".into()
                }
            };
            let [image, label, problem] = ["image", "label", "problem"].map(text);
            let row =
                format!(r#"{{"image": "{image}", "label": "{label}", "problem": "{problem}"}}"#);
            let wanted = format!("line 2: field `{field}`: {} bytes", limit + 1);
            assert!(error(&row, &default).contains(&wanted), "{field}");
        }
        let fixed = JsonLinesConfig {
            classes: Some(vec!["a".into()]),
            ..default
        };
        let message = error(r#"{"image": "x", "label": "b"}"#, &fixed);
        assert!(message.contains("line 2: field `label`: `b` is not one of the classes given; "));
        let twice = JsonLinesConfig {
            classes: Some(["a", "b", "a"].map(String::from).to_vec()),
            ..Default::default()
        };
        assert!(error("", &twice).contains("class `a` is both number 0 and number 2"));
        let missing = JsonLinesConfig::default()
            .open("no/such.jsonl")
            .unwrap_err();
        assert!(matches!(missing, Error::Missing { .. }));
    }

    #[test]
    fn labels_splits_and_marks_are_read_as_other_projects_write_them() {
        let text = r#"{"image": "1.png", "label": "<answer>kite</answer>", "problem": "<image>"}
{"image": "2.png", "label": "kite ", "split": "validation", "problem": "<image>\nWhich?"}
{"image": "3.png", "label": "drum", "split": "dev", "problem": "Which?"}
{"image": "4.png", "label": "kite", "split": "testing"}"#;
        let dataset = open(text, &JsonLinesConfig::default()).unwrap();
        assert_eq!(dataset.classes(), ["drum", "kite"]);
        let rows = |split| -> Vec<(&str, usize, Option<&str>)> {
            let records = dataset.records(split).unwrap().iter();
            records
                .map(|r| (&r.id[..], r.label, r.question.as_deref()))
                .collect()
        };
        assert_eq!(rows(Split::Train), [("1.png", 1, None)]);
        let val = [("2.png", 1, Some("Which?")), ("3.png", 0, Some("Which?"))];
        assert_eq!(rows(Split::Val), val);
        assert_eq!(rows(Split::Test), [("4.png", 1, None)]);
    }

    #[test]
    fn given_classes_set_the_order_and_any_path_may_be_allowed() {
        let text = r#"{"image": "1.png", "label": "a"}
{"image": "../elsewhere/2.png", "label": "a"}"#;
        let classes = Some(vec!["b".into(), "a".into()]);
        let config = JsonLinesConfig {
            classes,
            any_path: true,
            ..Default::default()
        };
        let dataset = open(text, &config).unwrap();
        assert_eq!(dataset.records(Split::Train).unwrap()[0].label, 1);
    }
}
