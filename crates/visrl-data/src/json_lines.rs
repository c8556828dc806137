use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::coop::OBJECT_QUESTION;
use crate::paths::join_below;
use crate::{Error, MemoryDataset, Record, Split};

/// The longest line read, in bytes.
const MAX_LINE: u64 = 1 << 20;

/// A data set in JSON lines: one object per image with the fields `image` (a path) and `label` (the
/// answer), and optionally `problem` (the image's own question) and `split` (`train`, `val` or
/// `test`; `train` without it). Other fields are ignored, and so are blank lines.
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
struct Row {
    image: String,
    label: String,
    problem: Option<String>,
    split: Option<Split>,
}

impl JsonLinesConfig {
    /// Reads a file; images are relative to its folder. The data set is named like the file, a
    /// record's id is its `image`.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] or [`Error::Io`]; [`Error::Row`] with the line that does not parse, is
    /// longer than 1 MiB or has a label that is not among the given classes; [`Error::ImagePath`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let path = path.as_ref();
        let rows = read_rows(path)?;
        let classes = match &self.classes {
            Some(classes) => classes.clone(),
            None => {
                let labels: BTreeSet<&str> = rows.iter().map(|(_, row)| &row.label[..]).collect();
                labels.into_iter().map(String::from).collect()
            }
        };
        let labels: HashMap<&str, usize> = classes
            .iter()
            .enumerate()
            .rev()
            .map(|(i, class)| (class.as_str(), i))
            .collect();
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut splits: [Option<Vec<Record>>; 3] = [None, None, None];
        for (line, row) in rows {
            let row_name = || format!("line {line}");
            let label = *labels.get(row.label.as_str()).ok_or_else(|| Error::Row {
                path: path.to_path_buf(),
                row: row_name(),
                field: "label",
                message: format!("`{}` is not one of the classes given", row.label),
            })?;
            let file = match self.any_path {
                true => folder.join(&row.image),
                false => join_below(folder, &row.image, path, row_name)?,
            };
            let mut record = Record::new(row.image, ImageSource::path(file), label);
            record.question = row.problem.map(Arc::from);
            let split = row.split.unwrap_or(Split::Train);
            splits[split as usize].get_or_insert_default().push(record);
        }
        let name = path
            .file_stem()
            .map_or("images".into(), |name| name.to_string_lossy());
        let mut dataset = MemoryDataset::new(name, classes, &self.question);
        for (split, records) in Split::ALL.into_iter().zip(splits) {
            if let Some(records) = records {
                dataset = dataset.with_split(split, records)?;
            }
        }
        Ok(dataset)
    }
}

fn read_rows(path: &Path) -> Result<Vec<(usize, Row)>, Error> {
    let file = File::open(path).map_err(Error::io(path, "a file of JSON lines"))?;
    let mut reader = BufReader::new(file);
    let mut rows = Vec::new();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = (&mut reader).take(MAX_LINE).read_until(b'\n', &mut bytes);
        let read = read.map_err(|source| Error::Io {
            path: path.to_path_buf(),
            source,
        })?;
        let fail = |message| Error::Row {
            path: path.to_path_buf(),
            row: format!("line {line}"),
            field: "row",
            message,
        };
        if read as u64 == MAX_LINE && bytes.last() != Some(&b'\n') {
            return Err(fail(format!("is longer than {MAX_LINE} bytes")));
        }
        match bytes.trim_ascii() {
            [] if read == 0 => break,
            [] => {}
            text => {
                let row = serde_json::from_slice(text).map_err(|error| fail(error.to_string()))?;
                rows.push((line, row));
            }
        }
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::Dataset;

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
        let split = r#"{"image": "x", "label": "a", "split": "dev"}"#;
        assert!(error(split, &default).contains("unknown variant `dev`"));
        let long = format!(r#"{{"image": "{}"}}"#, "x".repeat(MAX_LINE as usize));
        assert!(error(&long, &default).contains("line 2: field `row`: is longer than 1048576"));
        let fixed = JsonLinesConfig {
            classes: Some(vec!["a".into()]),
            ..default
        };
        let message = error(r#"{"image": "x", "label": "b"}"#, &fixed);
        assert!(message.contains("line 2: field `label`: `b` is not one of the classes"));
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
