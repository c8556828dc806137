use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::image_source::ImageSource;
use crate::prompt::Content;

/// What the row of a data file brings beyond one image, a question and a label. Most bring nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// The user's turn where images stand within or behind its text, or there are several; without
    /// it the image stands in front of the question.
    pub layout: Option<Arc<Layout>>,
    /// Where the row stands.
    pub place: Option<Place>,
}

/// A user's turn part by part, and the system turn before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Texts and images in order; the texts joined are the question. Empty: one image in front of
    /// the question.
    pub parts: Vec<Content>,
    /// The system turn; an empty one is a turn without words. `None` leaves it to the template.
    pub system: Option<String>,
}

impl Layout {
    /// The images, in order.
    pub fn images(&self) -> impl Iterator<Item = &ImageSource> {
        self.parts.iter().filter_map(|part| match part {
            Content::Image(image) => Some(image),
            Content::Text(_) => None,
        })
    }
}

/// Where a row stands in a data file, for errors that show when it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file and its columns.
    pub columns: Arc<Columns>,
    /// The number of the row.
    pub number: u64,
}

/// The file of a [`Place`], and where in its rows the images and the question are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The file.
    pub file: PathBuf,
    /// What rows are counted in: `line` (from 1) or `row` (from 0).
    pub unit: &'static str,
    /// The column of the images.
    pub images: String,
    /// The column of the question.
    pub question: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = &self.columns;
        write!(
            f,
            "{}: {} {}",
            columns.file.display(),
            columns.unit,
            self.number
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_file_and_a_line() {
        let columns = Columns {
            file: "a/fruit.jsonl".into(),
            unit: "line",
            images: "image".into(),
            question: "problem".into(),
        };
        let place = Place {
            columns: Arc::new(columns),
            number: 7,
        };
        assert_eq!(place.to_string(), "a/fruit.jsonl: line 7");
    }
}
