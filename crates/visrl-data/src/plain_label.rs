use std::borrow::Cow;

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Why a text names no class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LabelFault {
    /// Nothing, or nothing but blanks.
    #[error("is empty; give the class or the answer")]
    Empty,
    /// Nothing, or nothing but blanks, between the tags.
    #[error("is empty within its tags; give the class or the answer")]
    EmptyTags,
    /// A tag without its other half.
    #[error("has a tag without its other half; write the plain name, or close the tag")]
    OpenTag,
    /// Several answers in tags that differ.
    #[error("holds several answers in tags; leave the one that is right")]
    SeveralAnswers,
}

/// The plain name in a label as it stands in a file: without blanks and invisible characters
/// around it, out of the `<answer>` tags if it stands in some, without a thought or a reason in
/// tags beside it, and in Unicode's composed form (NFC), so that two ways to write one class are
/// one class. Tags may be in any case.
///
/// # Errors
///
/// The [`LabelFault`] of a text that has no such name.
///
/// ```
/// use visrl_data::{LabelFault, plain_label};
///
/// for label in ["kite", " kite\n", "<answer> kite </answer>", "<think>red</think><answer>kite</answer>"] {
///     assert_eq!(plain_label(label)?, "kite");
/// }
/// assert_eq!(plain_label("cafe\u{301}")?, "caf\u{e9}");
/// assert_eq!(plain_label("<answer></answer>"), Err(LabelFault::EmptyTags));
/// # Ok::<(), LabelFault>(())
/// ```
pub fn plain_label(label: &str) -> Result<Cow<'_, str>, LabelFault> {
    let name = if label.contains('<') {
        untagged(label)?
    } else {
        Cow::Borrowed(trim(label))
    };
    if name.is_empty() {
        return Err(LabelFault::Empty);
    }
    Ok(match is_nfc(&name) {
        true => name,
        false => Cow::Owned(name.nfc().collect()),
    })
}

/// Whether a label holds more text than its plain name and the tags around it, such as a thought.
pub fn holds_more(label: &str, name: &str) -> bool {
    if !label.contains('<') {
        return false;
    }
    let mut rest = label.to_ascii_lowercase();
    for tag in [ANSWER.open, ANSWER.close] {
        rest = rest.replace(tag, " ");
    }
    let rest: String = rest.nfc().collect();
    // The same answer may be there twice.
    let rest = rest.replace(&name.to_ascii_lowercase(), "");
    !trim(&rest).is_empty()
}

/// What a reader takes for the same name: letters in either case, and any run of blanks.
pub(crate) fn reader_key(name: &str) -> String {
    let words: Vec<String> = name.split(is_blank).map(str::to_lowercase).collect();
    let words = words.iter().filter(|word| !word.is_empty());
    words.map(String::as_str).collect::<Vec<_>>().join(" ")
}

/// Whether two different names are one to a reader. Single letters are not: the two cases of one
/// may be two classes.
pub(crate) fn are_alike(a: &str, b: &str) -> bool {
    a != b && a.chars().nth(1).is_some() && reader_key(a) == reader_key(b)
}

/// Blanks, and characters that are not seen.
fn is_blank(c: char) -> bool {
    c.is_whitespace()
        || c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}')
}

fn trim(text: &str) -> &str {
    text.trim_matches(is_blank)
}

/// A pair of tags.
struct Tag {
    open: &'static str,
    close: &'static str,
}

const ANSWER: Tag = Tag {
    open: "<answer>",
    close: "</answer>",
};

/// What may stand beside an answer.
const BESIDE: [Tag; 2] = [
    Tag {
        open: "<think>",
        close: "</think>",
    },
    Tag {
        open: "<reason>",
        close: "</reason>",
    },
];

/// The trimmed text within the `<answer>` tags; without any, all of it.
fn untagged(label: &str) -> Result<Cow<'_, str>, LabelFault> {
    let mut text = Cow::Borrowed(label);
    for tag in &BESIDE {
        text = without_blocks(text, tag)?;
    }
    // ASCII letters keep their places.
    let lower = text.to_ascii_lowercase();
    let opens = lower.matches(ANSWER.open).count();
    if opens != lower.matches(ANSWER.close).count() {
        return Err(LabelFault::OpenTag);
    }
    if opens == 0 {
        return match trim(&text) {
            "" if text.len() < label.len() => Err(LabelFault::EmptyTags),
            name => Ok(Cow::Owned(name.to_owned())),
        };
    }
    let mut answers = lower.match_indices(ANSWER.open).filter_map(|(at, open)| {
        let start = at + open.len();
        let length = lower[start..].find(ANSWER.close)?;
        let inside = &lower[start..start + length];
        (!inside.contains(ANSWER.open)).then(|| trim(&text[start..start + length]))
    });
    let answer = answers.next().ok_or(LabelFault::OpenTag)?;
    if answers.any(|other| other != answer) {
        return Err(LabelFault::SeveralAnswers);
    }
    match answer {
        "" => Err(LabelFault::EmptyTags),
        answer => Ok(Cow::Owned(answer.to_owned())),
    }
}

/// The text without the blocks in these tags.
fn without_blocks<'t>(mut text: Cow<'t, str>, tag: &Tag) -> Result<Cow<'t, str>, LabelFault> {
    loop {
        let lower = text.to_ascii_lowercase();
        match (lower.find(tag.open), lower.find(tag.close)) {
            (None, None) => return Ok(text),
            (Some(start), Some(end)) if start < end => {
                let rest = format!("{} {}", &text[..start], &text[end + tag.close.len()..]);
                text = Cow::Owned(rest);
            }
            _ => return Err(LabelFault::OpenTag),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tags_blanks_and_forms_are_ways_to_write_one_name() {
        for label in [
            "kite",
            " kite",
            "kite\u{a0}\r\n",
            "\u{feff}kite\u{200b}",
            "<answer>kite</answer>",
            "<answer> kite\n</answer>\n",
            "<Answer>kite</ANSWER>",
            "<answer><answer>kite</answer></answer>",
            "It is a <answer>kite</answer>.",
            "<think>cat or <answer>cat</answer>?</think> <answer>kite</answer>",
            "<think>red</think> kite",
            "<answer>kite</answer><reason>a string</reason>",
            "<answer>kite</answer> <answer> kite</answer>",
        ] {
            assert_eq!(plain_label(label).unwrap(), "kite", "{label}");
        }
        assert_eq!(plain_label(" a <b> c ").unwrap(), "a <b> c");
        assert_eq!(plain_label("1 < 2").unwrap(), "1 < 2");
        assert_eq!(plain_label("<answer>e\u{301}</answer>").unwrap(), "\u{e9}");
    }

    #[test]
    fn a_text_without_a_name_says_why() {
        for (label, fault) in [
            ("", LabelFault::Empty),
            (" \u{200b}\t", LabelFault::Empty),
            ("<answer></answer>", LabelFault::EmptyTags),
            ("<answer> \n</answer>", LabelFault::EmptyTags),
            ("kite <answer></answer>", LabelFault::EmptyTags),
            ("<think>kite</think>", LabelFault::EmptyTags),
            ("<answer>kite", LabelFault::OpenTag),
            ("kite</answer>", LabelFault::OpenTag),
            ("</answer>kite<answer>", LabelFault::OpenTag),
            ("<answer><answer>kite</answer>", LabelFault::OpenTag),
            ("<think>kite", LabelFault::OpenTag),
            ("</think>kite<think>", LabelFault::OpenTag),
            (
                "<answer>a</answer><answer>b</answer>",
                LabelFault::SeveralAnswers,
            ),
        ] {
            assert_eq!(plain_label(label), Err(fault), "{label}");
        }
    }

    #[test]
    fn what_stands_beside_a_name_is_noticed() {
        for (label, more) in [
            ("kite", false),
            ("<answer> Kite </answer>\n", false),
            ("<answer>kite</answer><answer>kite</answer>", false),
            ("a <b> c", false),
            ("<think>red</think><answer>kite</answer>", true),
            ("It is a <answer>kite</answer>", true),
        ] {
            let name = plain_label(label).unwrap();
            assert_eq!(holds_more(label, &name), more, "{label}");
        }
    }

    #[test]
    fn a_reader_sees_neither_case_nor_the_number_of_blanks() {
        assert!(are_alike("Great  Grebe", "great grebe"));
        assert!(!are_alike("A", "a") && !are_alike("a_b", "a b") && !are_alike("kite", "kite"));
    }

    proptest! {
        #[test]
        fn a_plain_name_is_plain(label in "(<answer>|</answer>|<think>|</think>|[ aé\u{301}<]){0,8}") {
            if let Ok(name) = plain_label(&label) {
                prop_assert_eq!(plain_label(&name), Ok(Cow::Borrowed(&*name)));
            }
        }
    }
}
