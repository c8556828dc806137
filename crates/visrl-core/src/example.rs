use crate::image_source::ImageSource;

/// One labelled image with the question asked about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Names the example within its data set, in logs and metrics.
    pub id: String,
    /// The image.
    pub image: ImageSource,
    /// The question without choices and without instructions.
    pub question: String,
    /// The names to choose from, in the order shown; empty for an open question.
    pub choices: Vec<String>,
    /// The right answer.
    pub label: String,
}
