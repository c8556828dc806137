use crate::text::without_underscores;

use super::matcher::Matcher;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::matchers::exact::{Exact, IgnoreCase, Trimmed};

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
}
