//! Options with letters: `(A)`, `(B)` and so on.

/// The most options of a question.
pub(crate) const MAX_OPTIONS: usize = 26;

/// The letter of an option in brackets; `place` is below [`MAX_OPTIONS`].
pub(crate) fn letter(place: usize) -> String {
    format!("({})", char::from(b'A' + (place % MAX_OPTIONS) as u8))
}

/// The place of the option that an answer names by its letter: `(B)`, `B`, `B.` or `B)`.
pub(crate) fn place_of(answer: &str) -> Option<usize> {
    let bare = answer.trim();
    let bare = bare.strip_prefix('(').unwrap_or(bare);
    let bare = bare.strip_suffix([')', '.']).unwrap_or(bare);
    match bare.as_bytes() {
        [letter @ b'A'..=b'Z'] => Some(usize::from(letter - b'A')),
        _ => None,
    }
}

/// A question followed by its options, as CV-Bench writes them.
pub(crate) fn with_options(question: &str, options: &[String]) -> String {
    let mut text = format!("{} Select from the following choices.", question.trim_end());
    for (place, option) in options.iter().enumerate() {
        text.push_str(&format!("\n{} {option}", letter(place)));
    }
    text
}

/// The options at the end of a question, one on each line: `(A) left`, `A. left` or `A) left`.
/// There are two at least, and their letters follow each other.
pub(crate) fn lettered_options(question: &str) -> Option<Vec<String>> {
    let mut options = Vec::new();
    for line in question.lines().map(str::trim) {
        let wanted = char::from(b'A' + (options.len() % MAX_OPTIONS) as u8);
        match option_after(line, wanted) {
            Some(option) if options.len() < MAX_OPTIONS => options.push(option.to_owned()),
            _ if options.is_empty() || line.is_empty() => {}
            _ => return None,
        }
    }
    (options.len() > 1).then_some(options)
}

fn option_after(line: &str, letter: char) -> Option<&str> {
    let rest = match line.strip_prefix('(') {
        Some(rest) => rest.strip_prefix(letter)?.strip_prefix(')')?,
        None => line.strip_prefix(letter)?.strip_prefix(['.', ')'])?,
    };
    let option = rest.trim();
    (!option.is_empty()).then_some(option)
}

/// What SAT puts before the options of a question.
const INLINE: &str = "Choose between the following options:";

/// A question that ends in `Choose between the following options: left, ahead or right`, apart
/// from its options.
pub(crate) fn inline_options(question: &str) -> Option<(&str, Vec<String>)> {
    let (question, list) = question.rsplit_once(INLINE)?;
    let list = list.trim().trim_end_matches('.');
    let (first, last) = list.rsplit_once(" or ")?;
    let options: Vec<String> = first
        .split(", ")
        .chain([last])
        .map(|option| option.trim().trim_end_matches(',').to_owned())
        .collect();
    let usable = options.len() <= MAX_OPTIONS && options.iter().all(|o| !o.is_empty());
    usable.then_some((question.trim_end(), options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_read_as_they_are_written() {
        for answer in ["(B)", "B", "B.", "B)", " (B) "] {
            assert_eq!(place_of(answer), Some(1), "{answer}");
        }
        for answer in ["", "b", "(AB)", "(é)", "()", "Bear"] {
            assert_eq!(place_of(answer), None, "{answer}");
        }
        for place in 0..MAX_OPTIONS {
            assert_eq!(place_of(&letter(place)), Some(place));
        }
    }

    #[test]
    fn options_written_are_the_options_read() {
        let options = ["3", "on the left", "(A) or B"].map(String::from).to_vec();
        let text = with_options("How many? ", &options);
        assert_eq!(
            text,
            "How many? Select from the following choices.\n(A) 3\n(B) on the left\n(C) (A) or B"
        );
        assert_eq!(lettered_options(&text), Some(options));
        let other = lettered_options("Which?\nA. yes\n\nB) no\n");
        assert_eq!(other.unwrap(), ["yes", "no"]);
        for text in [
            "Which?",
            "Which?\n(A) yes",
            "Which?\n(A) yes\n(C) no",
            "(B) x\n(A) y",
        ] {
            assert_eq!(lettered_options(text), None, "{text}");
        }
    }

    #[test]
    fn options_in_a_sentence_are_taken_apart() {
        let text = "How many chairs? Choose between the following options: 4, 3, 2 or 0";
        let (question, options) = inline_options(text).unwrap();
        assert_eq!(question, "How many chairs?");
        assert_eq!(options, ["4", "3", "2", "0"]);
        let two = inline_options("Q Choose between the following options: yes or no.");
        assert_eq!(two.unwrap().1, ["yes", "no"]);
        for text in ["Q", "Q Choose between the following options: yes", ""] {
            assert_eq!(inline_options(text), None, "{text}");
        }
    }
}
