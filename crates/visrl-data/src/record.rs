use std::sync::Arc;

use visrl_core::{ImageSource, Row};

/// One labelled image of a data set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Names the image within its split: the row's path, or its number.
    pub id: String,
    /// The image; a path is not opened before the image is decoded.
    pub image: ImageSource,
    /// Index into [`Dataset::classes`](crate::Dataset::classes).
    pub label: usize,
    /// The record's own question; `None` takes that of the data set.
    pub question: Option<Arc<str>>,
    /// The record's own choices, in the order shown; `None` draws them from the data set's classes.
    pub choices: Option<Arc<[String]>>,
    /// What the row of a data file brings beyond these: further images and their places.
    pub row: Row,
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
            row: Row::default(),
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

    /// The images that stand behind the first.
    pub fn further_images(&self) -> impl Iterator<Item = &ImageSource> {
        let layout = self.row.layout.iter();
        layout.flat_map(|layout| layout.images()).skip(1)
    }
}
