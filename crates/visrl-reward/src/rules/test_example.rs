use visrl_core::Example;

/// An example for unit tests.
pub(crate) fn example(label: &str, choices: &[&str]) -> Example {
    Example {
        id: "test/0".into(),
        image: visrl_core::ImageSource::path("test.png"),
        question: "What is in the photo?".into(),
        choices: choices.iter().map(ToString::to_string).collect(),
        label: label.into(),
        row: Default::default(),
    }
}
