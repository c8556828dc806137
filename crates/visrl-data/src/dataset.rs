use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::{Example, ImageSource};

use crate::{ChoiceList, Error};

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// What is trained on.
    Train,
    /// What choices between runs are made on.
    Val,
    /// What is reported.
    Test,
}

impl Split {
    /// The three splits, in order.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The split's name in files and folders: `train`, `val`, `test`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One labelled image of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Names the image within its split: the row's path, or its number.
    pub id: String,
    /// The image; a path is not opened before the image is decoded.
    pub image: ImageSource,
    /// Index into [`Dataset::classes`].
    pub label: usize,
    /// The record's own question; `None` takes that of the data set.
    pub question: Option<Arc<str>>,
    /// The record's own choices, in the order shown; `None` draws them from the data set's classes.
    pub choices: Option<Arc<[String]>>,
}

impl Record {
    /// A record that is asked the data set's question.
    pub fn new(id: impl Into<String>, image: ImageSource, label: usize) -> Self {
        Self {
            id: id.into(),
            image,
            label,
            question: None,
            choices: None,
        }
    }

    /// The same record with a question of its own.
    pub fn with_question(mut self, question: impl Into<Arc<str>>) -> Self {
        self.question = Some(question.into());
        self
    }

    /// The same record with choices of its own: those of a multiple-choice question. The label
    /// need not be one of them; it may be the letter of one, such as `(B)`.
    pub fn with_choices(mut self, choices: impl Into<Arc<[String]>>) -> Self {
        self.choices = Some(choices.into());
        self
    }
}

/// Labelled images in splits, with the names of their classes and the question to ask.
///
/// Four methods make a data set. The others turn records into [`Example`]s and are the same for
/// all.
///
/// ```
/// use visrl_core::ImageSource;
/// use visrl_data::{ChoiceList, ChoiceRule, Dataset, Error, Record, Split};
///
/// struct Digits(Vec<String>, Vec<Record>);
///
/// impl Dataset for Digits {
///     fn name(&self) -> &str {
///         "digits"
///     }
///     fn classes(&self) -> &[String] {
///         &self.0
///     }
///     fn question(&self) -> &str {
///         "Which digit is in the photo?"
///     }
///     fn records(&self, split: Split) -> Result<&[Record], Error> {
///         match split {
///             Split::Train => Ok(&self.1),
///             _ => Err(Error::NoSplit { dataset: self.name().into(), split }),
///         }
///     }
/// }
///
/// let image = |n: usize| Record::new(n.to_string(), ImageSource::path(format!("{n}.png")), n);
/// let digits = Digits((0..10).map(|n| n.to_string()).collect(), (0..10).map(image).collect());
/// let examples = digits.examples(Split::Train, &ChoiceList::new(ChoiceRule::All, 1), 0)?;
/// assert_eq!((&examples[7].label[..], examples[7].choices.len()), ("7", 10));
/// # Ok::<(), Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// What to call the data set in logs and errors.
    fn name(&self) -> &str;

    /// The class names; a record's label is an index into them.
    fn classes(&self) -> &[String];

    /// The question asked about every image, without choices and without instructions.
    fn question(&self) -> &str;

    /// The records of a split, in a fixed order.
    ///
    /// # Errors
    ///
    /// [`Error::NoSplit`] when the data set has no such split.
    fn records(&self, split: Split) -> Result<&[Record], Error>;

    /// Makes an example of a record: the label becomes a name, and the choices are those given
    /// (none for an open question).
    ///
    /// # Errors
    ///
    /// [`Error::LabelRange`] when the record's label is not an index into the classes;
    /// [`Error::UnknownLabel`] when it is not among the choices.
    fn example(&self, record: &Record, choices: Vec<String>) -> Result<Example, Error> {
        let label = self
            .classes()
            .get(record.label)
            .ok_or_else(|| Error::LabelRange {
                path: self.name().into(),
                row: record.id.clone(),
                label: record.label as i64,
                classes: self.classes().len(),
            })?;
        if !choices.is_empty() && !choices.contains(label) {
            return Err(Error::UnknownLabel {
                path: self.name().into(),
                row: record.id.clone(),
                field: "label",
                label: label.clone(),
                of: format!("choices [ {}]", choices.join(", ")),
                advice: "no answer would be right: add it, or let a `ChoiceList` draw the choices",
            });
        }
        Ok(Example {
            id: record.id.clone(),
            image: record.image.clone(),
            question: record
                .question
                .as_deref()
                .unwrap_or(self.question())
                .to_owned(),
            choices,
            label: label.clone(),
        })
    }

    /// Makes an example of a record with the choices of one round (an epoch, or 0 in evaluation):
    /// the record's own choices if it has some, otherwise those drawn by the list. `index` is the
    /// record's place in its split.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::example`].
    fn draw_example(
        &self,
        record: &Record,
        choices: &ChoiceList,
        round: u64,
        index: u64,
    ) -> Result<Example, Error> {
        let mut example = self.example(record, Vec::new())?;
        example.choices = match &record.choices {
            Some(own) => own.to_vec(),
            None => choices.draw(self.classes(), &example.label, round, index),
        };
        Ok(example)
    }

    /// All examples of a split with the choices of one round, by [`Dataset::draw_example`]; the
    /// i-th example's list depends on `(seed of the list, round, i)` alone.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::records`] and [`Dataset::example`].
    fn examples(
        &self,
        split: Split,
        choices: &ChoiceList,
        round: u64,
    ) -> Result<Vec<Example>, Error> {
        let records = self.records(split)?.iter().zip(0u64..);
        records
            .map(|(record, index)| self.draw_example(record, choices, round, index))
            .collect()
    }
}

impl<T: Dataset + ?Sized> Dataset for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn classes(&self) -> &[String] {
        (**self).classes()
    }

    fn question(&self) -> &str {
        (**self).question()
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        (**self).records(split)
    }
}

/// Checks that every image that is a file exists, and counts them.
///
/// Adapters do not do this on their own: it asks the file system once per image.
///
/// # Errors
///
/// [`Error::Missing`] with the path of the first image that is not there.
pub fn check_image_files(dataset: &dyn Dataset) -> Result<usize, Error> {
    let mut count = 0;
    for split in Split::ALL {
        for record in dataset.records(split).unwrap_or_default() {
            if let ImageSource::Path(path) = &record.image {
                if !path.is_file() {
                    let hint = format!("image of `{}` in {}", record.id, dataset.name());
                    return Err(Error::Missing {
                        path: path.to_path_buf(),
                        hint,
                    });
                }
                count += 1;
            }
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ChoiceRule, MemoryDataset};

    fn pets() -> MemoryDataset {
        let record = |id: &str, label| Record::new(id, ImageSource::path(id), label);
        MemoryDataset::new("pets", ["cat", "dog"], "Which pet?")
            .with_split(Split::Train, vec![record("a.png", 1), record("b.png", 0)])
            .unwrap()
    }

    #[test]
    fn a_record_becomes_an_example_with_its_own_question_first() {
        let pets = pets();
        let record = pets.records(Split::Train).unwrap()[0]
            .clone()
            .with_question("Dog?");
        let example = pets.example(&record, vec!["dog".into()]).unwrap();
        assert_eq!(
            (example.question.as_str(), example.label.as_str()),
            ("Dog?", "dog")
        );
        assert_eq!(example.choices, ["dog"]);
        let list = ChoiceList::new(ChoiceRule::All, 1);
        let examples = Arc::new(pets).examples(Split::Train, &list, 0).unwrap();
        assert_eq!(examples[1].question, "Which pet?");
        assert_eq!(
            (examples[1].choices.len(), examples[1].label.as_str()),
            (2, "cat")
        );
    }

    #[test]
    fn labels_beyond_the_classes_are_refused() {
        let record = Record::new("c.png", ImageSource::path("c.png"), 2);
        let error = pets().example(&record, vec![]).unwrap_err().to_string();
        assert_eq!(
            error,
            "pets: c.png: label 2 is out of range, there are 2 classes"
        );
    }

    #[test]
    fn a_label_must_be_among_the_choices_given() {
        let record = pets().records(Split::Train).unwrap()[0].clone();
        let error = pets().example(&record, vec!["cat".into()]).unwrap_err();
        let message = error.to_string();
        assert!(
            message
                .starts_with("pets: a.png: field `label`: `dog` is not one of the choices [ cat];"),
            "{message}"
        );
    }

    #[test]
    fn a_records_own_choices_stand_in_place_of_drawn_ones() {
        let own = ["left", "right"].map(String::from).to_vec();
        let record = pets().records(Split::Train).unwrap()[0].clone();
        let pets = pets()
            .with_split(Split::Test, vec![record.with_choices(own.clone())])
            .unwrap();
        for rule in [ChoiceRule::All, ChoiceRule::Open] {
            let list = ChoiceList::new(rule, 1);
            let examples = pets.examples(Split::Test, &list, 0).unwrap();
            assert_eq!(examples[0].choices, own);
        }
    }

    #[test]
    fn a_missing_image_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let there = folder.path().join("there.png");
        std::fs::write(&there, b"x").unwrap();
        let record = |path: std::path::PathBuf| Record::new("r", ImageSource::path(path), 0);
        let good = MemoryDataset::new("d", ["x"], "?")
            .with_split(Split::Test, vec![record(there.clone())])
            .unwrap();
        assert_eq!(check_image_files(&good).unwrap(), 1);
        let bad = good
            .with_split(Split::Val, vec![record(folder.path().join("gone.png"))])
            .unwrap();
        assert!(
            matches!(check_image_files(&bad), Err(Error::Missing { path, .. })
            if path.ends_with("gone.png"))
        );
    }
}
