use std::sync::Arc;

use visrl_core::Example;

use crate::error::Error;
use crate::prompt::choices::ChoiceList;
use crate::record::Record;
use crate::split::Split;

/// Labelled images in splits, with the names of their classes and the question to ask.
///
/// Four methods make a data set. The others turn records into [`Example`]s and are the same for
/// all: what copies records, such as a few-shot draw, asks the copy and not the original.
///
/// The trait is a type of its own (`&dyn Dataset`, `Arc<dyn Dataset>`), and a reference, a `Box` or
/// an `Arc` of a data set is one, too.
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

    /// The question asked where no choices are shown; the same unless the data set says otherwise.
    fn open_question(&self) -> &str {
        self.question()
    }

    /// The records of a split, in a fixed order.
    ///
    /// # Errors
    ///
    /// [`Error::NoSplit`] when the data set has no such split; [`Error::dataset`] for what a data
    /// set of one's own says.
    fn records(&self, split: Split) -> Result<&[Record], Error>;

    /// The records of a split, or `None` when the data set has no such split.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::records`], without [`Error::NoSplit`].
    fn records_if_any(&self, split: Split) -> Result<Option<&[Record]>, Error> {
        match self.records(split) {
            Ok(records) => Ok(Some(records)),
            Err(Error::NoSplit { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

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
                field: "label".into(),
                label: label.as_str().into(),
                of: format!("choices [ {}]", choices.join(", ")).into(),
                advice: "no answer would be right: add it, or let a `ChoiceList` draw the choices",
            });
        }
        Ok(Example {
            id: record.id.clone(),
            image: record.image.clone(),
            question: question_of(self, record, choices.is_empty()).to_owned(),
            choices,
            label: label.clone(),
            row: record.row.clone(),
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
        example.question = question_of(self, record, example.choices.is_empty()).to_owned();
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

/// The record's own question, or else that of the data set.
fn question_of<'a, D: Dataset + ?Sized>(dataset: &'a D, record: &'a Record, open: bool) -> &'a str {
    match (record.question.as_deref(), open) {
        (Some(own), _) => own,
        (None, true) => dataset.open_question(),
        (None, false) => dataset.question(),
    }
}

/// What points at a data set is one: each call goes to the data set itself.
macro_rules! point_at_a_dataset {
    ($($pointer:ty),+) => {$(
        impl<T: Dataset + ?Sized> Dataset for $pointer {
            fn name(&self) -> &str {
                (**self).name()
            }

            fn classes(&self) -> &[String] {
                (**self).classes()
            }

            fn question(&self) -> &str {
                (**self).question()
            }

            fn open_question(&self) -> &str {
                (**self).open_question()
            }

            fn records(&self, split: Split) -> Result<&[Record], Error> {
                (**self).records(split)
            }

            fn records_if_any(&self, split: Split) -> Result<Option<&[Record]>, Error> {
                (**self).records_if_any(split)
            }

            fn example(&self, record: &Record, choices: Vec<String>) -> Result<Example, Error> {
                (**self).example(record, choices)
            }

            fn draw_example(
                &self,
                record: &Record,
                choices: &ChoiceList,
                round: u64,
                index: u64,
            ) -> Result<Example, Error> {
                (**self).draw_example(record, choices, round, index)
            }

            fn examples(
                &self,
                split: Split,
                choices: &ChoiceList,
                round: u64,
            ) -> Result<Vec<Example>, Error> {
                (**self).examples(split, choices, round)
            }
        }
    )+};
}

point_at_a_dataset!(&T, Box<T>, Arc<T>);
