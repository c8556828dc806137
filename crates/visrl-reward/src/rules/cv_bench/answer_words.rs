//! What stands within reach of the words "answer" and "final answer", for the CV-Bench parse.

use std::cell::OnceCell;

use memchr::{memchr, memchr2_iter};

use crate::text::is_blank;

use super::cv_bench_option::Found;

/// Where a word starts and ends.
pub(super) type Word = (usize, usize);

/// Where the words "answer" and "final answer" occur in a text, whatever their case.
pub(super) struct Answers<'t> {
    text: &'t str,
    answers: OnceCell<Vec<usize>>,
    finals: Vec<usize>,
}

impl<'t> Answers<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let finals = memchr2_iter(b'f', b'F', text.as_bytes())
            .filter(|start| is_at(text, *start, "final answer"))
            .collect();
        Self {
            text,
            answers: OnceCell::new(),
            finals,
        }
    }

    /// "answer", or "answer:".
    pub(super) fn words(&self, colon: bool) -> impl Iterator<Item = Word> {
        let answers = self.answers.get_or_init(|| {
            // Of its letters, "w" is the rarest.
            memchr2_iter(b'w', b'W', self.text.as_bytes())
                .filter_map(|at| at.checked_sub("ans".len()))
                .filter(|start| is_at(self.text, *start, "answer"))
                .collect()
        });
        answers.iter().filter_map(move |start| {
            let end = start + "answer".len();
            let suits = !colon || is_at(self.text, end, ":");
            suits.then_some((*start, end + usize::from(colon)))
        })
    }

    /// "final answer", or "final answer is".
    pub(super) fn finals(&self, is: bool) -> impl Iterator<Item = Word> {
        self.finals.iter().filter_map(move |start| {
            let end = start + "final answer".len();
            match is {
                true => is_at(self.text, end, " is").then_some((*start, end + " is".len())),
                false => Some((*start, end)),
            }
        })
    }
}

/// Whether an ASCII word stands at `at`, whatever its case.
fn is_at(text: &str, at: usize, word: &str) -> bool {
    let found = text.as_bytes().get(at..at + word.len());
    found.is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes()))
}

/// How far behind a word a match may start.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    /// So many characters.
    pub(super) chars: usize,
    /// Whether a line break ends it.
    pub(super) line: bool,
}

impl Reach {
    fn covers(self, text: &str, (after, at): (usize, usize)) -> bool {
        // No more bytes are looked at than this allows.
        if at - after > 4 * self.chars {
            return false;
        }
        let between = &text.as_bytes()[after..at];
        let chars = between.iter().filter(|byte| (**byte as i8) >= -64).count();
        chars <= self.chars && !(self.line && memchr(b'\n', between).is_some())
    }
}

/// The last match that starts with a word and ends with what is found in its reach.
///
/// `places` are, in order, where something may be found, and what to hand to `find` there. Each is
/// tried once: the reaches of words overlap, but what is in vain for one is so for the next.
pub(super) fn last_in_reach<'t>(
    text: &'t str,
    words: impl Iterator<Item = Word>,
    reach: Reach,
    places: impl Iterator<Item = (usize, usize)>,
    find: impl Fn(usize) -> Option<Found<'t>>,
) -> Option<Found<'t>> {
    let mut last: Option<Found<'t>> = None;
    let mut places = places.peekable();
    for (start, after) in words {
        if last.as_ref().is_some_and(|last| start < last.end) {
            continue;
        }
        loop {
            let Some((at, from)) = places.peek().copied() else {
                return last;
            };
            if at >= after {
                if !reach.covers(text, (after, at)) {
                    break;
                }
                if let Some(found) = find(from) {
                    places.next();
                    last = Some(Found { start, ..found });
                    break;
                }
            }
            places.next();
        }
    }
    last
}

/// Where blanks and then "is" stand, whatever its case: the place before the blanks and the one
/// after the word.
pub(super) fn is_words(text: &str) -> impl Iterator<Item = (usize, usize)> {
    memchr2_iter(b'i', b'I', text.as_bytes())
        .filter(|at| is_at(text, *at, "is"))
        .filter_map(|at| {
            let before = text[..at].trim_end_matches(is_blank).len();
            (before < at).then_some((before, at + "is".len()))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_whatever_their_case() {
        let text = "Answer: the FINAL answer; a final Answer IS éanswer";
        let answers = Answers::new(text);
        let starts = |words: &mut dyn Iterator<Item = Word>| Vec::from_iter(words.map(|w| w.0));
        assert_eq!(starts(&mut answers.words(false)), [0, 18, 34, 46]);
        assert_eq!(Vec::from_iter(answers.words(true)), [(0, 7)]);
        assert_eq!(starts(&mut answers.finals(false)), [12, 28]);
        assert_eq!(Vec::from_iter(answers.finals(true)), [(28, 43)]);
        assert_eq!(Answers::new("answe w nswer").words(false).count(), 0);
    }

    #[test]
    fn reach_is_counted_in_characters() {
        let text = "中中中\n中";
        let covers = |chars, line, at| Reach { chars, line }.covers(text, (0, at));
        assert!(covers(3, true, 9) && !covers(2, true, 9) && covers(0, true, 0));
        assert!(!covers(5, true, 10) && covers(5, false, 13) && !covers(4, false, 13));
    }

    #[test]
    fn is_after_blanks() {
        let text = "is this  Is\u{3000}isis";
        assert_eq!(Vec::from_iter(is_words(text)), [(7, 11), (11, 16)]);
    }
}
