use crate::text::strip;

use super::matcher::Matcher;

/// Both name the same option letter: `B`, `b`, `(B)`, `B.`, `B)`, `**B**`, or a letter so marked
/// and followed by more, as in `(B) chair`.
///
/// A bare letter counts only when nothing follows, so that `A cat` is no option. A label without a
/// letter matches nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionLetter;

impl Matcher for OptionLetter {
    fn name(&self) -> &str {
        "option_letter"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        option_letter(label).is_some_and(|label| option_letter(answer) == Some(label))
    }
}

/// The upper-cased option letter that a text names.
pub(crate) fn option_letter(text: &str) -> Option<char> {
    let text = strip(text);
    let text = match text.strip_prefix("**") {
        Some(rest) => strip(rest.strip_suffix("**")?),
        None => text,
    };
    let (bracket, rest) = match text.strip_prefix('(') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut chars = rest.chars();
    let letter = chars.next().filter(char::is_ascii_alphabetic)?;
    let marked = match (bracket, chars.next()) {
        (true, Some(')')) => true,
        (true, _) => return None,
        (false, None) => true,
        (false, Some(mark)) => matches!(mark, ')' | '.' | ':' | ','),
    };
    // What follows the mark must not continue a word: `e.g.`, `a.m.` are no options.
    let free = chars.next().is_none_or(|next| !next.is_alphanumeric());
    (marked && free).then(|| letter.to_ascii_uppercase())
}

/// The last capital letter that stands alone in the answer is the label's: `The answer is (B).`
///
/// The reference's reward for SAT calls such a function, but never defines it, so there it has no
/// effect. Case-sensitive; a label may be written `B` or `(B)`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastLetter;

impl Matcher for LastLetter {
    fn name(&self) -> &str {
        "last_letter"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        let mut chars = strip(label)
            .trim_start_matches('(')
            .trim_end_matches(')')
            .chars();
        let (Some(label), None) = (chars.next(), chars.next()) else {
            return false;
        };
        last_letter(answer) == Some(label)
    }
}

fn last_letter(text: &str) -> Option<char> {
    let mut next = None;
    let mut letter = None;
    for c in text.chars().rev() {
        if letter.is_some() {
            if !c.is_alphanumeric() {
                return letter;
            }
            letter = None;
        } else if c.is_ascii_uppercase() && next.is_none_or(|next: char| !next.is_alphanumeric()) {
            letter = Some(c);
        }
        next = Some(c);
    }
    letter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_marked_or_alone() {
        for text in [
            "B",
            "b",
            " (B) ",
            "(b)",
            "B.",
            "B)",
            "B:",
            "**B**",
            "(B) chair",
            "B. chair",
        ] {
            assert_eq!(option_letter(text), Some('B'), "{text}");
        }
        for text in [
            "", "(", "(B", "B chair", "Bag", "3", "e.g.", "**", "(BC)", "β", "I am (B)",
        ] {
            assert_eq!(option_letter(text), None, "{text}");
        }
        assert!(OptionLetter.matches("b", "(B)") && !OptionLetter.matches("", ""));
    }

    #[test]
    fn the_last_letter_stands_alone() {
        assert!(LastLetter.matches("The answer is (B).", "B"));
        assert!(LastLetter.matches("A or B", "(B)") && !LastLetter.matches("A or B", "A"));
        assert!(!LastLetter.matches("b", "B") && !LastLetter.matches("BBC", "C"));
        assert!(LastLetter.matches("B is right, not CD", "B"));
        assert!(!LastLetter.matches("", "B") && !LastLetter.matches("B", ""));
        assert!(LastLetter.matches("B", "B"));
    }
}
