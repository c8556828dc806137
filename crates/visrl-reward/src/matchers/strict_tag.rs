use crate::tags::only_answer;

use super::matcher::Matcher;

/// Takes a whole completion for the answer: its only `<answer>` (see
/// [`only_answer`](crate::tags::only_answer)) must satisfy the inner matcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StrictTag<M>(
    /// What compares the text within the tag.
    pub M,
);

impl<M: Matcher> Matcher for StrictTag<M> {
    fn name(&self) -> &str {
        "strict_tag"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        only_answer(answer).is_some_and(|answer| self.0.matches(answer, label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matchers::exact::Exact;
    use crate::matchers::lenient::Contains;

    #[test]
    fn a_strict_tag_must_be_there() {
        assert!(StrictTag(Exact).matches("<think>a</think><answer> cat </answer>", "cat"));
        assert!(!StrictTag(Contains).matches("cat", "cat"));
    }
}
