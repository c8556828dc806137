use crate::tags::only_answer;
use crate::text::{equal_lower, strip, without_underscores};

use super::Matcher;

/// Equal byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exact;

impl Matcher for Exact {
    fn name(&self) -> &str {
        "exact"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        answer == label
    }
}

/// Equal but for blanks at the ends; upper and lower case differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed;

impl Matcher for Trimmed {
    fn name(&self) -> &str {
        "trimmed"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        strip(answer) == strip(label)
    }
}

/// Equal but for blanks at the ends and for case, by full Unicode lower-casing: what the paper's
/// thinking methods compare tags with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoreCase;

impl Matcher for IgnoreCase {
    fn name(&self) -> &str {
        "ignore_case"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        equal_lower(strip(answer), strip(label))
    }
}

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

/// The lenient matcher of the paper's evaluation: `label.lower() in answer.lower()`, tried again
/// with blanks for the label's underscores.
///
/// It is for measuring beside the paper, not for training: "coat" is contained in "raincoat", and
/// an answer that lists all choices contains each of them. An empty label is contained in
/// everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contains;

impl Matcher for Contains {
    fn name(&self) -> &str {
        "contains"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        let answer = answer.to_lowercase();
        answer.contains(&label.to_lowercase())
            || without_underscores(label)
                .is_some_and(|label| answer.contains(&label.to_lowercase()))
    }
}

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

    #[test]
    fn each_is_more_lenient_than_the_one_before() {
        let cases = [
            ("Coat", "Coat", [true, true, true, true]),
            (" Coat\n", "Coat", [false, true, true, true]),
            ("coat", "Coat", [false, false, true, true]),
            ("a raincoat", "Coat", [false, false, false, true]),
            ("cat", "Coat", [false, false, false, false]),
            ("\u{200b}Coat", "Coat", [false, false, false, true]),
        ];
        for (answer, label, want) in cases {
            let matchers: [&dyn Matcher; 4] = [&Exact, &Trimmed, &IgnoreCase, &Contains];
            let got = matchers.map(|matcher| matcher.matches(answer, label));
            assert_eq!(got, want, "{answer:?} {label:?}");
        }
    }

    #[test]
    fn underscores_of_the_label_may_be_blanks() {
        assert!(Underscore(IgnoreCase).matches("American bulldog", "american_bulldog"));
        assert!(Underscore(Exact).matches("american_bulldog", "american_bulldog"));
        assert!(!Underscore(Exact).matches("american_bulldog", "american bulldog"));
        assert!(Contains.matches("an American bulldog!", "american_bulldog"));
    }

    #[test]
    fn a_strict_tag_must_be_there() {
        assert!(StrictTag(Exact).matches("<think>a</think><answer> cat </answer>", "cat"));
        assert!(!StrictTag(Contains).matches("cat", "cat"));
    }
}
