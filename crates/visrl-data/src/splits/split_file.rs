use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde_json::Value;
use visrl_core::ImageSource;
use visrl_core::files::read_json;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_LIST, MAX_PATH, check_length};
use crate::files::paths::join_below;
use crate::files::told::tell;
use crate::memory::MemoryDataset;
use crate::plain_label::plain_label;
use crate::record::Record;
use crate::sources::labels::tell_names;
use crate::split::Split;

/// The rows of a split.
type Rows = Vec<(String, i64, String)>;

/// Reads a split file of CoOp's form, for one's own data as well.
///
/// Row paths are taken relative to `images`; a record's id is its path as it stands in the file.
/// The class names come from the rows, by [`plain_label`]; two labels may have one name, which is
/// told, as are splits of other names.
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
    let whole: Value = read_json(path, MAX_LIST).map_err(Error::file(hint))?;
    let rows = split_rows(path, whole)?;
    let mut names = BTreeMap::new();
    let mut splits = Vec::with_capacity(3);
    for (split, rows) in Split::ALL.into_iter().zip(rows) {
        let mut records = Vec::with_capacity(rows.len());
        for (i, (id, label, class)) in rows.into_iter().enumerate() {
            let row = || format!("{split}[{i}]");
            check_length(&id, MAX_PATH, path, row, "path")?;
            check_length(&class, MAX_LABEL, path, row, "class name")?;
            let file = join_below(images, &id, path, row, "image")?;
            let label = check_label(label, max_classes, path, row)?;
            let plain = plain_label(&class).map_err(|fault| Error::Row {
                path: path.to_path_buf(),
                row: row(),
                field: "class name".into(),
                message: fault.to_string(),
            })?;
            name_label(&mut names, label, (plain, &class), path, row)?;
            records.push(Record::new(id, ImageSource::path(file), label));
        }
        splits.push((split, records));
    }
    if names.is_empty() {
        return Err(Error::no_row(path));
    }
    for (split, records) in &splits {
        // Many sets have no validation images.
        if records.is_empty() && *split != Split::Val {
            tell(path, &format!("holds no row of the split {split}"));
        }
    }
    if let Some((expected, found)) = names.keys().enumerate().find(|&(i, &label)| i != label) {
        return Err(Error::Row {
            path: path.to_path_buf(),
            row: format!("label {expected}"),
            field: "label".into(),
            message: format!("has no row, but label {found} has; labels must be 0..n without gaps"),
        });
    }
    check_ways(&names, path)?;
    let names: Vec<String> = names.into_values().map(|name| name.plain).collect();
    tell_names(path, &names);
    let mut dataset = MemoryDataset::new(name, names, question);
    for (split, records) in splits {
        dataset = dataset.with_split(split, records)?;
    }
    Ok(dataset)
}

/// The rows of `train`, `val` and `test`; other splits are told.
fn split_rows(path: &Path, whole: Value) -> Result<[Rows; 3], Error> {
    let fail = |row: &str, field: &str, message: String| Error::Row {
        path: path.to_path_buf(),
        row: row.to_owned(),
        field: field.into(),
        message,
    };
    let Value::Object(mut whole) = whole else {
        let message = "is no object of `train`, `val` and `test`".into();
        return Err(fail("file", "splits", message));
    };
    let mut splits = [Vec::new(), Vec::new(), Vec::new()];
    for (split, rows) in Split::ALL.into_iter().zip(&mut splits) {
        let Some(Value::Array(found)) = whole.remove(split.as_str()) else {
            return Err(fail("file", split.as_str(), "is no list of rows".into()));
        };
        rows.reserve(found.len());
        for (number, row) in found.into_iter().enumerate() {
            let name = format!("{split}[{number}]");
            let fields = match row {
                Value::Array(fields) if fields.len() == 3 => fields,
                Value::Array(fields) => {
                    let message = format!("has {} values, expected are 3", fields.len());
                    return Err(fail(
                        &name,
                        "row",
                        format!("{message}: path, label, class name"),
                    ));
                }
                _ => return Err(fail(&name, "row", "is no list of path, label, name".into())),
            };
            let mut fields = fields.into_iter();
            let mut next = || fields.next().unwrap_or_default();
            let (Value::String(file), label, class) = (next(), next(), next()) else {
                return Err(fail(&name, "path", "is no text".into()));
            };
            let Some(label) = label.as_i64() else {
                return Err(fail(&name, "label", "is no whole number".into()));
            };
            let Value::String(class) = class else {
                return Err(fail(&name, "class name", "is no text".into()));
            };
            rows.push((file, label, class));
        }
    }
    for (split, rows) in whole {
        let count = rows.as_array().map_or(0, Vec::len);
        let message =
            format!("`{split}` with {count} rows is not used: the splits are train, val and test");
        tell(path, &message);
    }
    Ok(splits)
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
    fn splits_without_a_row_are_told_and_a_file_without_any_is_refused() {
        let row = r#"["a.jpg", 0, "a"]"#;
        for (train, test, told) in [
            (row, row, None),
            ("", row, Some("holds no row of the split train")),
            (row, "", Some("holds no row of the split test")),
        ] {
            let json = format!(r#"{{"train": [{train}], "val": [], "test": [{test}]}}"#);
            let (found, texts) = visrl_testing::warnings_of(|| read(&json));
            found.unwrap();
            assert_eq!(texts.len(), usize::from(told.is_some()), "{texts:?}");
            assert!(texts.iter().all(|text| text.ends_with(told.unwrap())));
        }
        let error = read(r#"{"train": [], "val": [], "test": []}"#).unwrap_err();
        assert!(error.to_string().ends_with("there is no row"), "{error}");
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
    fn other_splits_and_equal_names_are_told() {
        let json = r#"{"train": [["1", 0, "a"], ["2", 1, "a"]], "val": [], "test": [["3", 0, "a"]],
            "all": []}"#;
        let (dataset, told) = visrl_testing::warnings_of(|| read(json));
        assert_eq!(dataset.unwrap().classes(), ["a", "a"]);
        assert!(
            told[0].contains("split.json: `all` with 0 rows is not used"),
            "{told:?}"
        );
        assert!(
            told[1].contains("split.json: two classes are called `a`"),
            "{told:?}"
        );
    }

    #[test]
    fn each_fault_has_its_error_and_its_row() {
        let with = |row: &str| {
            let json = format!(r#"{{"train": [["a", 0, "a"], {row}], "val": [], "test": []}}"#);
            read(&json).unwrap_err()
        };
        let message = with(r#"["/etc/passwd", 0, "a"]"#).to_string();
        assert!(
            message.contains("split.json: train[1]: field `image`: `/etc/passwd`"),
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
        for (row, place) in [
            (r#"["b", "2", "c"]"#, "train[1]: field `label`"),
            (r#"["b", 2, 3]"#, "train[1]: field `class name`"),
            (r#"[1, 2, "c"]"#, "train[1]: field `path`"),
            (r#"["b", 2]"#, "train[1]: field `row`: has 2 values"),
            ("{}", "train[1]: field `row`"),
        ] {
            let message = with(row).to_string();
            assert!(
                message.contains(&format!("split.json: {place}")),
                "{message}"
            );
        }
        let message = read(r#"{"train": []}"#).unwrap_err().to_string();
        assert!(
            message.contains("split.json: file: field `val`"),
            "{message}"
        );
        let json = |error| matches!(error, Error::File(FileError::Json { .. }));
        assert!(json(read("{").unwrap_err()));
        let missing = read_split_file(Path::new("no/such.json"), Path::new(""), "d", "?", 3);
        assert!(matches!(missing, Err(Error::Missing { .. })));
    }
}
