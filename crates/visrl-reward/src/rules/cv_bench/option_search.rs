//! Searching an answer for options and numbers, as the CV-Bench parse does.
//!
//! Each function here is one regular expression of the reference's parser, walked by hand. A match
//! starts at the leftmost place and matches do not overlap, of which the last one counts. A place
//! where nothing can match is passed over by its first bytes.

use std::cell::OnceCell;

use memchr::memchr_iter;

use crate::text::{blanks_and, is_blank};

use super::answer_words::{Answers, Reach, is_words, last_in_reach};
use super::cv_bench_option::{CvBenchOption, Found};
use super::latex::dollars_at;
use super::numbers::{anchored_number, starts_number};

const LETTERS: [&str; 24] = [
    "A", "B", "C", "D", "E", "F", "a", "b", "c", "d", "e", "f", "(a)", "(b)", "(c)", "(d)", "(e)",
    "(f)", "(A)", "(B)", "(C)", "(D)", "(E)", "(F)",
];

/// The option strings, in the order in which they are tried.
pub(super) struct Keys<'a> {
    /// Sorted by their first byte, and in that order among those that share it.
    keys: Vec<&'a str>,
    /// How many keys start with a lesser byte than this.
    before: [usize; 257],
}

impl<'a> Keys<'a> {
    pub(super) fn new(choices: &'a [String]) -> Self {
        let choices = choices
            .iter()
            .map(String::as_str)
            .filter(|choice| !choice.is_empty());
        let mut keys: Vec<&str> = LETTERS.into_iter().chain(choices).collect();
        keys.sort_by_key(|key| key.as_bytes()[0]);
        let mut before = [0; 257];
        for key in &keys {
            before[usize::from(key.as_bytes()[0]) + 1] += 1;
        }
        for byte in 0..256 {
            before[byte + 1] += before[byte];
        }
        Self { keys, before }
    }

    fn starting_with(&self, byte: u8) -> &[&'a str] {
        let byte = usize::from(byte);
        &self.keys[self.before[byte]..self.before[byte + 1]]
    }

    fn any_starts_with(&self, byte: u8) -> bool {
        !self.starting_with(byte).is_empty()
    }

    /// The first key at the start of `text` whose rest suits.
    fn find<T>(&self, text: &str, suits: impl Fn(&str) -> Option<T>) -> Option<(usize, T)> {
        self.starting_with(*text.as_bytes().first()?)
            .iter()
            .find_map(|key| Some((key.len(), suits(text.strip_prefix(key)?)?)))
    }
}

/// A text, and the words, blanks and signs of it that an option may follow.
pub(super) struct Text<'t, 'k> {
    text: &'t str,
    keys: &'k Keys<'t>,
    answers: Answers<'t>,
    anchors: OnceCell<Vec<usize>>,
}

impl<'t, 'k> Text<'t, 'k> {
    pub(super) fn new(text: &'t str, keys: &'k Keys<'t>) -> Self {
        Self {
            text,
            keys,
            answers: Answers::new(text),
            anchors: OnceCell::new(),
        }
    }

    fn option(&self, start: usize, length: usize) -> CvBenchOption<'t> {
        CvBenchOption::Option(&self.text[start..start + length])
    }

    /// A key at `at` with a suffix: bold marks, then `.`, `,`, `:`, a blank or the end.
    fn key_with_suffix(&self, from: usize, at: usize) -> Option<Found<'t>> {
        for at in bold(self.text, at) {
            let suits = |rest: &str| {
                bold(rest, 0).find_map(|from| {
                    let rest = &rest[from..];
                    match rest.chars().next() {
                        None => Some(from),
                        Some(c) if is_blank(c) || matches!(c, '.' | ',' | ':') => {
                            Some(from + c.len_utf8())
                        }
                        Some(_) => None,
                    }
                })
            };
            if let Some((length, suffix)) = self.keys.find(&self.text[at..], suits) {
                let option = self.option(at, length);
                return Some(Found {
                    start: from,
                    end: at + length + suffix,
                    option,
                });
            }
        }
        None
    }

    /// A key after the blank at `at`.
    fn anchored_key(&self, at: usize) -> Option<Found<'t>> {
        let blank = self.text[at..].chars().next().filter(|c| is_blank(*c))?;
        self.key_with_suffix(at, at + blank.len_utf8())
    }

    /// The blanks and equals signs, in order, after which a key or a number may stand: behind all
    /// others, the next byte shows that there is none.
    fn anchors(&self) -> impl Iterator<Item = usize> {
        let anchors = self.anchors.get_or_init(|| {
            let bytes = self.text.as_bytes();
            let may_start = |byte| starts_number(byte) || self.keys.any_starts_with(byte);
            blanks_and(b'=', self.text)
                .filter(|(_, after)| bytes.get(*after).is_some_and(|byte| may_start(*byte)))
                .map(|(at, _)| at)
                .collect()
        });
        anchors.iter().copied()
    }

    fn anchored_number(&self, at: usize) -> Option<Found<'t>> {
        let (end, number) = anchored_number(self.text, at)?;
        Some(Found {
            start: at,
            end,
            option: CvBenchOption::Other(number),
        })
    }

    /// A key at the start of the text.
    pub(super) fn at_start(&self) -> Option<Found<'t>> {
        self.key_with_suffix(0, 0)
    }

    /// The last key alone, after the start of the text or a blank.
    pub(super) fn last_key(&self) -> Option<Found<'t>> {
        last(self.at_start(), self.anchors(), |at| self.anchored_key(at))
    }

    /// The last number alone.
    pub(super) fn last_number(&self) -> Option<Found<'t>> {
        let first = self.anchored_number(0);
        last(first, self.anchors(), |at| self.anchored_number(at))
    }

    /// The last key after the word "answer" (and a colon) and at most 50 characters of its line.
    pub(super) fn key_after_answer(&self, colon: bool) -> Option<Found<'t>> {
        self.after_answer(colon, true, self.anchors(), |at| self.anchored_key(at))
    }

    /// The same for a number.
    pub(super) fn number_after_answer(&self, colon: bool) -> Option<Found<'t>> {
        self.after_answer(colon, true, self.anchors(), |at| self.anchored_number(at))
    }

    /// The same for text between dollar signs, which may stand on a later line.
    pub(super) fn dollars_after_answer(&self, colon: bool) -> Option<Found<'t>> {
        let places = memchr_iter(b'$', self.text.as_bytes());
        self.after_answer(colon, false, places, |at| dollars_at(self.text, at))
    }

    fn after_answer(
        &self,
        colon: bool,
        line: bool,
        places: impl Iterator<Item = usize>,
        find: impl Fn(usize) -> Option<Found<'t>>,
    ) -> Option<Found<'t>> {
        let mut places = places.map(|at| (at, at)).peekable();
        places.peek()?;
        let words = self.answers.words(colon);
        last_in_reach(self.text, words, Reach { chars: 50, line }, places, find)
    }

    /// `final answer is KEY I hope`.
    pub(super) fn final_key_in_hope(&self) -> Option<Found<'t>> {
        let hopes = |rest: &str| hopes(rest).then_some(());
        self.in_hope(|after| self.key_after_colon(after, hopes))
    }

    /// The same for a number instead of a key.
    pub(super) fn final_number_in_hope(&self) -> Option<Found<'t>> {
        self.in_hope(|after| {
            let after = after + usize::from(self.text[after..].starts_with(':'));
            let rest = self.text[after..].trim_start_matches(is_blank);
            // Of the blanks before the number, the last is its anchor.
            let blanks = &self.text[after..self.text.len() - rest.len()];
            let anchor = blanks.chars().next_back().map_or(0, char::len_utf8);
            self.anchored_number(after + blanks.len() - anchor)
                .filter(|found| hopes(&self.text[found.end..]))
        })
    }

    fn in_hope(&self, find: impl Fn(usize) -> Option<Found<'t>>) -> Option<Found<'t>> {
        let mut last: Option<Found<'t>> = None;
        for (start, after) in self.answers.finals(true) {
            if last.as_ref().is_none_or(|last| start >= last.end)
                && let Some(found) = find(after)
            {
                last = Some(Found { start, ..found });
            }
        }
        last
    }

    /// `final answer … is KEY`, with at most 100 characters of the line between.
    pub(super) fn final_key(&self) -> Option<Found<'t>> {
        self.final_is(|after| self.key_after_colon(after, |_| Some(())))
    }

    /// The same for a number.
    pub(super) fn final_number(&self) -> Option<Found<'t>> {
        self.final_is(|after| {
            self.anchored_number(after + usize::from(self.text[after..].starts_with(':')))
        })
    }

    fn final_is(&self, find: impl Fn(usize) -> Option<Found<'t>>) -> Option<Found<'t>> {
        let reach = Reach {
            chars: 100,
            line: true,
        };
        let words = self.answers.finals(false);
        last_in_reach(self.text, words, reach, is_words(self.text), find)
    }

    /// A key at `after`, behind a colon or none and blanks or none.
    fn key_after_colon(
        &self,
        after: usize,
        suits: impl Fn(&str) -> Option<()>,
    ) -> Option<Found<'t>> {
        let rest = &self.text[after..];
        let rest = rest
            .strip_prefix(':')
            .unwrap_or(rest)
            .trim_start_matches(is_blank);
        let (length, ()) = self.keys.find(rest, suits)?;
        let at = self.text.len() - rest.len();
        Some(Found {
            start: after,
            end: at + length,
            option: self.option(at, length),
        })
    }
}

/// The last of the matches found from left to right, none of which overlap; the first of them, at
/// the start of the text, is known.
fn last<'t>(
    first: Option<Found<'t>>,
    places: impl Iterator<Item = usize>,
    find: impl Fn(usize) -> Option<Found<'t>>,
) -> Option<Found<'t>> {
    let mut last = first;
    for at in places {
        if last.as_ref().is_none_or(|last| at >= last.end)
            && let Some(found) = find(at)
        {
            last = Some(found);
        }
    }
    last
}

/// Whether `rest` goes on with a full stop or not, a blank or not, and "I hope", as the answers to
/// a well-known prompt do.
fn hopes(rest: &str) -> bool {
    let rest = rest.strip_prefix('.').unwrap_or(rest);
    let blank = rest.chars().next().filter(|c| is_blank(*c));
    rest[blank.map_or(0, char::len_utf8)..].starts_with("I hope")
}

/// The places in `text` at `at` with bold marks skipped, then not.
pub(super) fn bold(text: &str, at: usize) -> impl Iterator<Item = usize> + use<> {
    let marks = text[at..].starts_with("**").then_some(at + 2);
    marks.into_iter().chain([at])
}
