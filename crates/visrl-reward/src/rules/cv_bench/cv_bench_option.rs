/// What [`CvBenchScore::parse`](super::CvBenchScore::parse) finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CvBenchOption<'a> {
    /// One of the letters or choices.
    Option(&'a str),
    /// A number or boxed text that need not be among them, without leading zeros and thousands
    /// separators.
    Other(String),
}

impl CvBenchOption<'_> {
    /// The option's text.
    pub fn text(&self) -> &str {
        match self {
            Self::Option(text) => text,
            Self::Other(text) => text,
        }
    }
}

/// A match of a pattern: where it starts and ends, and what it names.
pub(super) struct Found<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) option: CvBenchOption<'a>,
}
