use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Deserialize;
use visrl_core::ImageSource;
use visrl_core::files::read_json;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_LIST, MAX_PATH, check_length};
use crate::files::paths::join_below;
use crate::memory::MemoryDataset;
use crate::plain_label::plain_label;
use crate::record::Record;
use crate::split::Split;

/// The rows of a CoOp split file: `{"train": [[path, label, class name], ...], "val": ..., "test":
/// ...}`.
#[derive(Deserialize)]
struct Rows {
    train: Vec<(String, i64, String)>,
    val: Vec<(String, i64, String)>,
    test: Vec<(String, i64, String)>,
}

/// Reads a split file of CoOp's form, for one's own data as well.
///
/// Row paths are taken relative to `images`; a record's id is its path as it stands in the file.
/// The class names come from the rows, by [`plain_label`]; two labels may have one name.
///
/// # Errors
///
/// * [`Error::Missing`], [`Error::File`]: the file cannot be read, or has more than 1 GiB;
/// * [`Error::ImagePath`]: a row's path is absolute or has `..` in it;
/// * [`Error::TooLarge`]: a path has more than 4 KiB or a class name more than 1 KiB;
/// * [`Error::LabelRange`]: a label is negative or not below `max_classes`;
/// * [`Error::LabelNames`]: one label has two names;
/// * [`Error::AlikeClasses`]: the names of two labels are two ways to write one;
/// * [`Error::Row`]: a class name is empty, or a label below the largest one has no row, so its name is unknown.
pub fn read_split_file(
    path: &Path,
    images: &Path,
    name: &str,
    question: &str,
    max_classes: usize,
) -> Result<MemoryDataset, Error> {
    let hint = "the split file of the data set";
    let rows: Rows = read_json(path, MAX_LIST).map_err(Error::file(hint))?;
    let mut names = BTreeMap::new();
    let mut splits = Vec::with_capacity(3);
    for (split, rows) in Split::ALL
        .into_iter()
        .zip([rows.train, rows.val, rows.test])
    {
        let mut records = Vec::with_capacity(rows.len());
        for (i, (id, label, class)) in rows.into_iter().enumerate() {
            let row = || format!("{split}[{i}]");
            check_length(&id, MAX_PATH, path, row, "path")?;
            check_length(&class, MAX_LABEL, path, row, "class name")?;
            let file = join_below(images, &id, path, row)?;
            let label = check_label(label, max_classes, path, row)?;
            let plain = plain_label(&class).map_err(|fault| Error::Row {
                path: path.to_path_buf(),
                row: row(),
                field: "class name",
                message: fault.to_string(),
            })?;
            name_label(&mut names, label, (plain, &class), path, row)?;
            records.push(Record::new(id, ImageSource::path(file), label));
        }
        splits.push((split, records));
    }
    if let Some((expected, found)) = names.keys().enumerate().find(|&(i, &label)| i != label) {
        return Err(Error::Row {
            path: path.to_path_buf(),
            row: format!("label {expected}"),
            field: "label",
            message: format!("has no row, but label {found} has; labels must be 0..n without gaps"),
        });
    }
    check_ways(&names, path)?;
    let names = names.into_values().map(|name| name.plain);
    let mut dataset = MemoryDataset::new(name, names, question);
    for (split, records) in splits {
        dataset = dataset.with_split(split, records)?;
    }
    Ok(dataset)
}

fn check_label(
    label: i64,
    classes: usize,
    path: &Path,
    row: impl FnOnce() -> String,
) -> Result<usize, Error> {
    match usize::try_from(label) {
        Ok(label) if label < classes => Ok(label),
        _ => Err(Error::LabelRange {
            path: path.to_path_buf(),
            row: row(),
            label,
            classes,
        }),
    }
}

fn name_label(
    names: &mut BTreeMap<usize, Name>,
    label: usize,
    (plain, written): (Cow<'_, str>, &str),
    path: &Path,
    row: impl FnOnce() -> String,
) -> Result<(), Error> {
    match names.get(&label) {
        Some(first) if first.plain == plain => Ok(()),
        Some(first) => Err(Error::LabelNames {
            path: path.to_path_buf(),
            row: row(),
            label,
            first: first.plain.clone(),
            second: plain.into_owned(),
        }),
        None => {
            let name = Name {
                plain: plain.into_owned(),
                written: written.to_owned(),
            };
            names.insert(label, name);
            Ok(())
        }
    }
}

/// A class name, and how it is written in the first row of its label.
struct Name {
    plain: String,
    written: String,
}

/// Refuses two labels whose names are two ways to write one.
fn check_ways(names: &BTreeMap<usize, Name>, path: &Path) -> Result<(), Error> {
    let mut ways: HashMap<&str, &str> = HashMap::new();
    for name in names.values() {
        let way = *ways.entry(&name.plain).or_insert(&name.written);
        if way != name.written {
            return Err(Error::AlikeClasses {
                path: path.to_path_buf(),
                first: way.into(),
                second: name.written.as_str().into(),
                why: "have different labels, but are two ways to write one name",
                advice: "give their rows one label, or rename one of them",
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use visrl_core::files::FileError;

    use super::*;
    use crate::dataset::Dataset;

    fn read(json: &str) -> Result<MemoryDataset, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("split.json");
        fs::write(&path, json).unwrap();
        read_split_file(&path, Path::new("images"), "d", "?", 3)
    }

    #[test]
    fn rows_keep_their_order_and_names_follow_the_labels() {
        let dataset = read(
            r#"{"train": [["b/1.jpg", 1, "b"], ["a/1.jpg", 0, "a"]], "val": [],
                "test": [["b/2.jpg", 1, "<answer>b</answer> "]]}"#,
        )
        .unwrap();
        assert_eq!(dataset.classes(), ["a", "b"]);
        let first = &dataset.records(Split::Train).unwrap()[0];
        assert_eq!((first.id.as_str(), first.label), ("b/1.jpg", 1));
        assert_eq!(first.image, ImageSource::path("images/b/1.jpg"));
        assert_eq!(dataset.records(Split::Test).unwrap().len(), 1);
    }

    #[test]
    fn each_fault_has_its_error_and_its_row() {
        let with = |row: &str| {
            let json = format!(r#"{{"train": [["a", 0, "a"], {row}], "val": [], "test": []}}"#);
            read(&json).unwrap_err()
        };
        let message = with(r#"["/etc/passwd", 0, "a"]"#).to_string();
        assert!(
            message.contains("split.json: train[1]: `/etc/passwd`"),
            "{message}"
        );
        assert!(matches!(
            with(r#"["a/../../b", 0, "a"]"#),
            Error::ImagePath { .. }
        ));
        assert!(matches!(
            with(r#"["b", 3, "d"]"#),
            Error::LabelRange {
                label: 3,
                classes: 3,
                ..
            }
        ));
        assert!(matches!(
            with(r#"["b", -1, "d"]"#),
            Error::LabelRange { label: -1, .. }
        ));
        for (row, field) in [
            (format!(r#"["{}", 1, "b"]"#, "x".repeat(4097)), "path"),
            (format!(r#"["b", 1, "{}"]"#, "x".repeat(1025)), "class name"),
        ] {
            let message = with(&row).to_string();
            let wanted = format!("split.json: train[1]: field `{field}`: ");
            assert!(message.contains(&wanted), "{message}");
        }
        assert!(matches!(
            with(r#"["b", 0, "other"]"#),
            Error::LabelNames { .. }
        ));
        let message = with(r#"["b", 1, " a"]"#).to_string();
        assert!(
            message.contains("split.json: the classes `a` and ` a` have different labels"),
            "{message}"
        );
        let message = with(r#"["b", 1, "<answer> </answer>"]"#).to_string();
        assert!(
            message.contains("split.json: train[1]: field `class name`: is empty"),
            "{message}"
        );
        assert!(
            with(r#"["b", 2, "c"]"#)
                .to_string()
                .contains("label 1: field `label`: has no row")
        );
        let json = |error| matches!(error, Error::File(FileError::Json { .. }));
        assert!(json(with(r#"["b", "2", "c"]"#)));
        assert!(json(read(r#"{"train": []}"#).unwrap_err()));
        let missing = read_split_file(Path::new("no/such.json"), Path::new(""), "d", "?", 3);
        assert!(matches!(missing, Err(Error::Missing { .. })));
    }
}
