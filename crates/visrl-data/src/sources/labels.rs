use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, check_length};
use crate::record::Record;

/// Refuses a list of class names in which one stands twice.
pub(crate) fn check_unique<'a>(
    path: &Path,
    names: impl IntoIterator<Item = &'a str>,
    advice: &'static str,
) -> Result<(), Error> {
    let mut places = HashMap::new();
    for (second, name) in names.into_iter().enumerate() {
        if let Some(first) = places.insert(name, second) {
            return Err(Error::DuplicateClass {
                path: path.to_path_buf(),
                name: name.to_owned(),
                first,
                second,
                advice,
            });
        }
    }
    Ok(())
}

/// Numbers the labels of a file's rows while they are read: by a list given, or in the order they
/// come in, to be sorted at the end. A label is held once, however many rows have it.
pub(crate) struct LabelIndex<'a> {
    path: &'a Path,
    names: Vec<Arc<str>>,
    places: HashMap<Arc<str>, usize>,
    given: bool,
}

impl<'a> LabelIndex<'a> {
    pub(crate) fn new(path: &'a Path, classes: Option<&[String]>) -> Result<Self, Error> {
        let given = classes.is_some();
        let classes = classes.unwrap_or_default();
        let advice = "take one out of `classes`, or rename it there and in the rows";
        check_unique(path, classes.iter().map(String::as_str), advice)?;
        let names: Vec<Arc<str>> = classes.iter().map(|name| Arc::from(&name[..])).collect();
        let places = names.iter().cloned().zip(0..).collect();
        Ok(Self {
            path,
            names,
            places,
            given,
        })
    }

    /// For rows that give numbers: the names may repeat, and no row is looked up by name.
    #[cfg(feature = "parquet")]
    pub(crate) fn numbered(path: &'a Path, classes: &[String]) -> Self {
        Self {
            path,
            names: classes.iter().map(|name| Arc::from(&name[..])).collect(),
            places: HashMap::new(),
            given: true,
        }
    }

    /// The number of a label.
    pub(crate) fn place(
        &mut self,
        label: &str,
        row: impl Fn() -> String,
        field: &'static str,
    ) -> Result<usize, Error> {
        if let Some(&place) = self.places.get(label) {
            return Ok(place);
        }
        check_length(label, MAX_LABEL, self.path, &row, field)?;
        if self.given {
            return Err(Error::UnknownLabel {
                path: self.path.to_path_buf(),
                row: row(),
                field,
                label: label.into(),
                of: "classes given".into(),
                advice: "correct the row, or add the name to `classes`",
            });
        }
        if label.trim().is_empty() {
            return Err(Error::Row {
                path: self.path.to_path_buf(),
                row: row(),
                field,
                message: "is empty; give the class or the answer".into(),
            });
        }
        let name: Arc<str> = Arc::from(label);
        let place = self.names.len();
        self.names.push(Arc::clone(&name));
        self.places.insert(name, place);
        Ok(place)
    }

    /// The class names in their order, after the records' labels were made to follow it.
    pub(crate) fn finish<'r>(
        self,
        records: impl IntoIterator<Item = &'r mut Record>,
    ) -> Vec<String> {
        let mut order: Vec<usize> = (0..self.names.len()).collect();
        if !self.given {
            order.sort_unstable_by_key(|&place| &self.names[place]);
            let mut label = vec![0; order.len()];
            for (new, &old) in order.iter().enumerate() {
                label[old] = new;
            }
            for record in records {
                record.label = label[record.label];
            }
        }
        let name = |place: usize| self.names[place].to_string();
        order.into_iter().map(name).collect()
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;

    #[test]
    fn labels_are_sorted_at_the_end_and_the_records_follow() {
        let mut labels = LabelIndex::new(Path::new("f"), None).unwrap();
        let row = || "line 1".to_owned();
        let mut records: Vec<Record> = ["pear", "apple", "pear", "fig"]
            .into_iter()
            .map(|name| {
                let label = labels.place(name, row, "label").unwrap();
                Record::new(name, ImageSource::path("x"), label)
            })
            .collect();
        assert!(labels.place(" ", row, "label").is_err());
        let long = "x".repeat(MAX_LABEL + 1);
        assert!(matches!(
            labels.place(&long, row, "label"),
            Err(Error::TooLarge { .. })
        ));
        let classes = labels.finish(&mut records);
        assert_eq!(classes, ["apple", "fig", "pear"]);
        assert!(records.iter().all(|r| classes[r.label] == r.id));
    }

    #[test]
    fn a_class_given_twice_is_refused() {
        let classes = ["a", "b", "a"].map(String::from);
        let error = LabelIndex::new(Path::new("f"), Some(&classes))
            .err()
            .unwrap();
        let message = error.to_string();
        assert!(
            message.starts_with("f: class `a` is both number 0 and number 2; take one out"),
            "{message}"
        );
    }
}
