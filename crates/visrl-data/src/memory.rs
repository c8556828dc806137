use crate::dataset::Dataset;
use crate::error::Error;
use crate::record::Record;
use crate::split::Split;

/// A data set held as three lists of records: what all adapters of this crate produce, and the
/// quickest way to one's own.
///
/// The records are light: an image on disk is its path, and one in memory is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryDataset {
    name: String,
    classes: Vec<String>,
    question: String,
    open_question: Option<String>,
    splits: [Option<Vec<Record>>; 3],
}

impl MemoryDataset {
    /// A data set without records yet.
    pub fn new<C: Into<String>>(
        name: impl Into<String>,
        classes: impl IntoIterator<Item = C>,
        question: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            classes: classes.into_iter().map(Into::into).collect(),
            question: question.into(),
            open_question: None,
            splits: [None, None, None],
        }
    }

    /// Name and questions of another data set with these classes, without records yet.
    pub(crate) fn like<'a>(
        dataset: &dyn Dataset,
        classes: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let (question, open) = (dataset.question(), dataset.open_question());
        let copy = Self::new(dataset.name(), classes, question);
        match open == question {
            true => copy,
            false => copy.with_open_question(open),
        }
    }

    /// Sets the records of one split, in place of those it had.
    ///
    /// # Errors
    ///
    /// [`Error::LabelRange`] when a label is not an index into the classes.
    pub fn with_split(mut self, split: Split, records: Vec<Record>) -> Result<Self, Error> {
        if let Some(record) = records
            .iter()
            .find(|record| record.label >= self.classes.len())
        {
            return Err(Error::LabelRange {
                path: self.name.into(),
                row: format!("{split} record `{}`", record.id),
                label: record.label as i64,
                classes: self.classes.len(),
            });
        }
        self.splits[split as usize] = Some(records);
        Ok(self)
    }

    /// The same records under another question, with choices or without.
    pub fn with_question(mut self, question: impl Into<String>) -> Self {
        self.question = question.into();
        self.open_question = None;
        self
    }

    /// The same records under another question where no choices are shown.
    pub fn with_open_question(mut self, question: impl Into<String>) -> Self {
        self.open_question = Some(question.into());
        self
    }

    /// The same data set under another name.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Rewrites every class name, for clean-ups of one's own.
    pub fn map_class_names(mut self, clean: impl FnMut(&str) -> String) -> Self {
        self.classes = self.classes.iter().map(String::as_str).map(clean).collect();
        self
    }

    /// Copies name, classes, questions and all records of any data set.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::records`], though a split may be missing; [`Error::LabelRange`].
    pub fn copy_of(dataset: &dyn Dataset) -> Result<Self, Error> {
        let classes = dataset.classes().iter().map(String::as_str);
        let mut copy = Self::like(dataset, classes);
        for split in Split::ALL {
            if let Some(records) = dataset.records_if_any(split)? {
                copy = copy.with_split(split, records.to_vec())?;
            }
        }
        Ok(copy)
    }
}

impl Dataset for MemoryDataset {
    fn name(&self) -> &str {
        &self.name
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn question(&self) -> &str {
        &self.question
    }

    fn open_question(&self) -> &str {
        self.open_question.as_deref().unwrap_or(&self.question)
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        self.splits[split as usize]
            .as_deref()
            .ok_or_else(|| Error::NoSplit {
                dataset: self.name.clone(),
                split,
            })
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;
    use crate::prompt::choices::{ChoiceList, ChoiceRule};

    #[test]
    fn a_split_that_was_not_given_is_an_error_and_an_empty_one_is_not() {
        let dataset = MemoryDataset::new("d", ["x"], "?")
            .with_split(Split::Val, vec![])
            .unwrap();
        assert!(dataset.records(Split::Val).unwrap().is_empty());
        let error = dataset.records(Split::Test).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("data set `d` has no test split; "),
            "{message}"
        );
        assert_eq!(MemoryDataset::copy_of(&dataset).unwrap(), dataset);
    }

    #[test]
    fn without_choices_the_open_question_is_asked() {
        let record = Record::new("1", ImageSource::path("1.png"), 0);
        let own = record.clone().with_question("Who?");
        let dataset = MemoryDataset::new("d", ["x"], "Which of these?")
            .with_open_question("What?")
            .with_split(Split::Test, vec![record, own])
            .unwrap();
        let dataset = MemoryDataset::copy_of(&dataset).unwrap();
        let asked = |rule| -> Vec<String> {
            let choices = ChoiceList::new(rule, 1);
            let examples = dataset.examples(Split::Test, &choices, 0).unwrap();
            examples
                .into_iter()
                .map(|example| example.question)
                .collect()
        };
        assert_eq!(asked(ChoiceRule::All), ["Which of these?", "Who?"]);
        assert_eq!(asked(ChoiceRule::Open), ["What?", "Who?"]);
        let other = dataset.with_question("Why?");
        assert_eq!(other.open_question(), "Why?");
    }

    #[test]
    fn a_label_without_a_class_is_refused_at_once() {
        let record = Record::new("7", ImageSource::path("7.png"), 1);
        let error = MemoryDataset::new("d", ["x"], "?").with_split(Split::Train, vec![record]);
        let error = error.unwrap_err().to_string();
        assert_eq!(
            error,
            "d: train record `7`: label 1 is out of range, there are 1 classes"
        );
    }

    #[test]
    fn names_can_be_rewritten() {
        let dataset =
            MemoryDataset::new("d", ["a_b"], "?").map_class_names(|n| n.replace('_', "-"));
        let dataset = dataset.with_name("e").with_question("What?");
        assert_eq!(dataset.classes(), ["a-b"]);
        assert_eq!((dataset.name(), dataset.question()), ("e", "What?"));
    }
}
