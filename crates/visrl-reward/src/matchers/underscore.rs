use crate::text::without_underscores;

use super::matcher::Matcher;

/// The inner matcher, tried again with blanks for the label's underscores: the paper's variant for
/// class names such as `american_bulldog`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Underscore<M>(
    /// What compares the answer with both spellings.
    pub M,
);

impl<M: Matcher> Matcher for Underscore<M> {
    fn name(&self) -> &str {
        "underscore"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        self.0.matches(answer, label)
            || without_underscores(label).is_some_and(|label| self.0.matches(answer, &label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matchers::exact::{Exact, IgnoreCase};
    use crate::matchers::lenient::Contains;

    #[test]
    fn underscores_of_the_label_may_be_blanks() {
        assert!(Underscore(IgnoreCase).matches("American bulldog", "american_bulldog"));
        assert!(Underscore(Exact).matches("american_bulldog", "american_bulldog"));
        assert!(!Underscore(Exact).matches("american_bulldog", "american bulldog"));
        assert!(Contains.matches("an American bulldog!", "american_bulldog"));
    }
}
