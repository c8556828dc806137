use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, check_length};
use crate::files::told::tell;
use crate::plain_label::{are_alike, holds_more, plain_label, reader_key};
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

/// Class names that are given in a list, as plain names; two ways to write one are refused, and so
/// are two equal ones unless names may repeat.
pub(crate) fn plain_classes(
    path: &Path,
    classes: &[String],
    may_repeat: bool,
) -> Result<Vec<String>, Error> {
    let mut plain = Vec::with_capacity(classes.len());
    let mut ways: HashMap<String, &str> = HashMap::new();
    for (place, class) in classes.iter().enumerate() {
        let name = plain_label(class).map_err(|fault| Error::Row {
            path: path.to_path_buf(),
            row: format!("classes[{place}]"),
            field: "classes".into(),
            message: fault.to_string(),
        })?;
        let way = *ways.entry(name.to_string()).or_insert(class);
        if way != class {
            return Err(Error::AlikeClasses {
                path: path.to_path_buf(),
                first: way.into(),
                second: class.as_str().into(),
                why: "are two ways to write one name",
                advice: "take one out of `classes`",
            });
        }
        plain.push(name.into_owned());
    }
    if !may_repeat {
        let advice = "take one out of `classes`, or rename it there and in the rows";
        check_unique(path, plain.iter().map(String::as_str), advice)?;
    }
    Ok(plain)
}

/// Tells of numbered classes of which two have one name, or names that are one to a reader.
pub(crate) fn tell_names(path: &Path, names: &[String]) {
    let mut first: HashMap<String, &String> = HashMap::new();
    let (mut same, mut alike) = (None, None);
    for name in names {
        match first.get(&reader_key(name)) {
            Some(other) if *other == name => same = same.or(Some(name)),
            Some(other) if are_alike(other, name) => alike = alike.or(Some((*other, name))),
            Some(_) => {}
            None => drop(first.insert(reader_key(name), name)),
        }
    }
    if let Some(name) = same {
        let message = format!(
            "two classes are called `{name}`: a list of choices shows the name once, and it is the \
             right answer for both; rename one"
        );
        tell(path, &message);
    }
    if let Some((a, b)) = alike {
        let message = format!(
            "the classes `{a}` and `{b}` differ in case or blanks alone; they are taken for \
             different classes"
        );
        tell(path, &message);
    }
}

/// Numbers the labels of a file's rows while they are read: by a list given, or in the order they
/// come in, to be sorted at the end. A label is held once, however many rows have it, and by its
/// [`plain_label`], however it is written.
pub(crate) struct LabelIndex {
    path: PathBuf,
    names: Vec<Arc<str>>,
    /// By the labels as they stand in the file, and by the plain names.
    places: HashMap<Arc<str>, usize>,
    given: bool,
    /// Whether it was told that labels hold more than their names.
    tells_more: bool,
}

impl LabelIndex {
    pub(crate) fn new(path: &Path, classes: Option<&[String]>) -> Result<Self, Error> {
        let given = classes.is_some();
        let classes = plain_classes(path, classes.unwrap_or_default(), false)?;
        let names: Vec<Arc<str>> = classes.iter().map(|name| Arc::from(&name[..])).collect();
        let places = names.iter().cloned().zip(0..).collect();
        Ok(Self {
            path: path.to_path_buf(),
            names,
            places,
            given,
            tells_more: false,
        })
    }

    /// For rows that give numbers: the names may repeat, and no row is looked up by name.
    ///
    /// # Errors
    ///
    /// Those of [`plain_classes`].
    #[cfg(feature = "parquet")]
    pub(crate) fn numbered(path: &Path, classes: &[String]) -> Result<Self, Error> {
        let classes = plain_classes(path, classes, true)?;
        tell_names(path, &classes);
        Ok(Self {
            path: path.to_path_buf(),
            names: classes.iter().map(|name| Arc::from(&name[..])).collect(),
            places: HashMap::new(),
            given: true,
            tells_more: false,
        })
    }

    /// The rows that come next are those of another file.
    pub(crate) fn in_file(&mut self, path: &Path) {
        self.path = path.to_path_buf();
    }

    /// The plain name of a label's number.
    pub(crate) fn name(&self, place: usize) -> &str {
        &self.names[place]
    }

    /// The number of a label.
    pub(crate) fn place(
        &mut self,
        label: &str,
        row: impl Fn() -> String,
        field: &str,
    ) -> Result<usize, Error> {
        if let Some(&place) = self.places.get(label) {
            return Ok(place);
        }
        check_length(label, MAX_LABEL, &self.path, &row, field)?;
        let name = plain_label(label).map_err(|fault| Error::Row {
            path: self.path.clone(),
            row: row(),
            field: field.into(),
            message: fault.to_string(),
        })?;
        if !self.tells_more && holds_more(label, &name) {
            self.tells_more = true;
            let message = format!(
                "{}: field `{field}`: holds more than an answer: of this and other such labels the \
                 answer alone is taken, here `{name}`",
                row()
            );
            tell(&self.path, &message);
        }
        let place = match self.places.get(&*name) {
            Some(&place) => place,
            None if self.given => {
                return Err(Error::UnknownLabel {
                    path: self.path.clone(),
                    row: row(),
                    field: field.into(),
                    label: label.into(),
                    of: "classes given".into(),
                    advice: "correct the row, or add the name to `classes`",
                });
            }
            None => {
                let place = self.names.len();
                let name: Arc<str> = Arc::from(&*name);
                self.names.push(Arc::clone(&name));
                self.places.insert(name, place);
                place
            }
        };
        self.places.insert(Arc::from(label), place);
        Ok(place)
    }

    /// Tells of classes that were found, not given, and are one to a reader.
    pub(crate) fn tell_alike(&self, field: &str) {
        if self.given {
            return;
        }
        let mut first = HashMap::new();
        let mut pairs = self.names.iter().filter_map(|name| {
            let other = *first.entry(reader_key(name)).or_insert(name);
            are_alike(other, name).then_some((other, name))
        });
        if let Some((a, b)) = pairs.next() {
            let more = match pairs.count() {
                0 => String::new(),
                more => format!(", and {more} more such pairs"),
            };
            let message = format!(
                "field `{field}`: `{a}` and `{b}` differ in case or blanks alone{more}: they are \
                 taken for different classes; write them alike, or give `classes`"
            );
            tell(&self.path, &message);
        }
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
    fn two_ways_to_write_a_label_are_one_class() {
        let mut labels = LabelIndex::new(Path::new("f"), None).unwrap();
        let row = || "line 7".to_owned();
        for label in [
            "kite",
            " kite",
            "<answer>kite</answer>",
            "<answer> kite </answer>\n",
        ] {
            for _ in 0..2 {
                assert_eq!(labels.place(label, row, "label").unwrap(), 0, "{label}");
            }
        }
        let message = labels.place("<answer></answer>", row, "label").unwrap_err();
        let message = message.to_string();
        assert!(
            message.starts_with("f: line 7: field `label`: is empty within its tags"),
            "{message}"
        );
        assert_eq!(labels.place("caf\u{e9}", row, "label").unwrap(), 1);
        assert_eq!(labels.place("cafe\u{301} ", row, "label").unwrap(), 1);
        assert_eq!(labels.finish([]), ["caf\u{e9}", "kite"]);
    }

    #[test]
    fn classes_that_are_given_are_plain_names() {
        let given = |classes: &[&str]| -> Vec<String> {
            classes.iter().map(|&class| class.to_owned()).collect()
        };
        let row = || "line 1".to_owned();
        let path = Path::new("f");
        let mut labels =
            LabelIndex::new(path, Some(&given(&["kite ", "<answer>drum</answer>"]))).unwrap();
        assert_eq!(labels.place("drum", row, "label").unwrap(), 1);
        assert!(labels.place("lamp", row, "label").is_err());
        assert_eq!(labels.finish([]), ["kite", "drum"]);
        for (classes, start) in [
            (
                &["kite", "kite "][..],
                "f: the classes `kite` and `kite ` are two ways",
            ),
            (&["kite", " "], "f: classes[1]: field `classes`: is empty"),
        ] {
            let message = LabelIndex::new(path, Some(&given(classes))).err().unwrap();
            assert!(message.to_string().starts_with(start), "{message}");
        }
        let twice = given(&["kite", "kite"]);
        assert_eq!(plain_classes(path, &twice, true).unwrap(), twice);
    }

    #[test]
    fn names_that_are_one_to_a_reader_are_told() {
        let told = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|&name| name.into()).collect();
            visrl_testing::warnings_of(|| tell_names(Path::new("f"), &names)).1
        };
        assert!(told(&["kite", "drum", "a", "A"]).is_empty());
        let twice = told(&["kite", "drum", "kite"]);
        assert!(
            twice[0].starts_with("f: two classes are called `kite`"),
            "{twice:?}"
        );
        let alike = told(&["Kite", "kite"]);
        assert!(
            alike[0].starts_with("f: the classes `Kite` and `kite` differ"),
            "{alike:?}"
        );
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
