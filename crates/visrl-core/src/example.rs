use crate::image_source::ImageSource;
use crate::row::Row;

/// One labelled image with the question asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Names the example within its data set, in logs and metrics.
    pub id: String,
    /// The image; of several the first.
    pub image: ImageSource,
    /// The question without choices and without instructions.
    pub question: String,
    /// The names to choose from, in the order shown; empty for an open question.
    pub choices: Vec<String>,
    /// The right answer.
    pub label: String,
    /// What the row of a data file brings beyond these: further images and their places.
    pub row: Row,
}

impl Example {
    /// Its images, in order.
    pub fn images(&self) -> impl Iterator<Item = &ImageSource> {
        let layout = self.row.layout.iter();
        let mut shown = layout.flat_map(|layout| layout.images()).peekable();
        let alone = shown.peek().is_none().then_some(&self.image);
        alone.into_iter().chain(shown)
    }
}
