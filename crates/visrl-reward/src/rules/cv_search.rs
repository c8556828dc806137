//! Searching an answer for options and numbers, as the CV-Bench parse does.
//!
//! Each function here is one regular expression of the reference's parser, walked by hand. A match
//! starts at the leftmost place and matches do not overlap, of which the last one counts.

use crate::text::is_blank;

use super::CvBenchOption;
use super::cv_latex::dollars_at;
use super::cv_number::{anchored_number, is_anchor_sign};

/// A match of a pattern: where it starts and ends, and what it names.
pub(super) struct Found<'a> {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) option: CvBenchOption<'a>,
}

const LETTERS: [&str; 24] = [
    "A", "B", "C", "D", "E", "F", "a", "b", "c", "d", "e", "f", "(a)", "(b)", "(c)", "(d)", "(e)",
    "(f)", "(A)", "(B)", "(C)", "(D)", "(E)", "(F)",
];

/// The option strings, in the order in which they are tried.
pub(super) struct Keys<'a> {
    keys: Vec<&'a str>,
    /// Whether any starts with this byte.
    starts: [bool; 256],
}

impl<'a> Keys<'a> {
    pub(super) fn new(choices: &'a [String]) -> Self {
        let choices = choices
            .iter()
            .map(String::as_str)
            .filter(|choice| !choice.is_empty());
        let keys: Vec<&str> = LETTERS.into_iter().chain(choices).collect();
        let mut starts = [false; 256];
        for key in &keys {
            starts[usize::from(key.as_bytes()[0])] = true;
        }
        Self { keys, starts }
    }

    /// The first key at the start of `text` whose rest suits.
    fn find<T>(&self, text: &str, suits: impl Fn(&str) -> Option<T>) -> Option<(usize, T)> {
        let first = *text.as_bytes().first()?;
        if !self.starts[usize::from(first)] {
            return None;
        }
        self.keys
            .iter()
            .find_map(|key| Some((key.len(), suits(text.strip_prefix(key)?)?)))
    }
}

pub(super) struct Text<'t, 'k> {
    text: &'t str,
    keys: &'k Keys<'t>,
}

type Anchored<'t, 'k> = dyn Fn(&Text<'t, 'k>, usize) -> Option<Found<'t>> + 'k;

impl<'t, 'k> Text<'t, 'k> {
    pub(super) fn new(text: &'t str, keys: &'k Keys<'t>) -> Self {
        Self { text, keys }
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

    /// A key after the start of the text or a blank at `at`.
    pub(super) fn anchored_key(&self, at: usize) -> Option<Found<'t>> {
        let at_start = if at == 0 {
            self.key_with_suffix(at, at)
        } else {
            None
        };
        at_start.or_else(|| {
            let blank = self.text[at..].chars().next().filter(|c| is_blank(*c))?;
            self.key_with_suffix(at, at + blank.len_utf8())
        })
    }

    pub(super) fn anchored_number(&self, at: usize) -> Option<Found<'t>> {
        let (end, number) = anchored_number(self.text, at)?;
        Some(Found {
            start: at,
            end,
            option: CvBenchOption::Other(number),
        })
    }

    pub(super) fn at_start(&self) -> Option<Found<'t>> {
        self.key_with_suffix(0, 0)
    }

    /// The last of the matches found from left to right, none of which overlap.
    pub(super) fn last(&self, anchored: &Anchored<'t, 'k>) -> Option<Found<'t>> {
        let mut last = None;
        let mut at = 0;
        while let Some(c) = self.text[at..].chars().next() {
            let found = if at == 0 || is_blank(c) || is_anchor_sign(c) {
                anchored(self, at)
            } else {
                None
            };
            at = match found {
                Some(found) => {
                    let end = found.end;
                    last = Some(found);
                    end
                }
                None => at + c.len_utf8(),
            };
        }
        last
    }

    /// The last match after the word "answer" (and a colon) and at most 50 characters of its line.
    pub(super) fn after_answer(
        &self,
        colon: bool,
        anchored: &Anchored<'t, 'k>,
    ) -> Option<Found<'t>> {
        self.after_word(colon, |after| reach(self.text, after, 50), anchored)
    }

    /// The same for text between dollar signs, which may stand on a later line.
    pub(super) fn dollars_after_answer(&self, colon: bool) -> Option<Found<'t>> {
        let reach = |after: usize| {
            self.text[after..]
                .char_indices()
                .take(51)
                .map(move |(at, _)| after + at)
        };
        self.after_word(colon, reach, &|text, at| dollars_at(text.text, at))
    }

    fn after_word<I: Iterator<Item = usize>>(
        &self,
        colon: bool,
        reach: impl Fn(usize) -> I,
        anchored: &Anchored<'t, 'k>,
    ) -> Option<Found<'t>> {
        let mut last: Option<Found<'t>> = None;
        // Windows overlap; what is in vain for one is so for the next.
        let mut tried = 0;
        let word = if colon { "answer:" } else { "answer" };
        for (start, after) in Words::new(self.text, word) {
            if last.as_ref().is_some_and(|last| start < last.end) {
                continue;
            }
            let found = reach(after).find_map(|at| {
                if at < tried {
                    return None;
                }
                tried = at + 1;
                anchored(self, at)
            });
            if let Some(found) = found {
                last = Some(Found { start, ..found });
            }
        }
        last
    }

    /// `final answer is KEY I hope` or, less strictly, `final answer … is KEY`.
    pub(super) fn final_answer_is(&self, hope: bool) -> Option<Found<'t>> {
        let mut last: Option<Found<'t>> = None;
        let word = if hope {
            "final answer is"
        } else {
            "final answer"
        };
        for (start, after) in Words::new(self.text, word) {
            if last.as_ref().is_some_and(|last| start < last.end) {
                continue;
            }
            let found = if hope {
                self.key_after_colon(after, &|rest| hopes(rest).then_some(()))
            } else {
                reach(self.text, after, 100)
                    .find_map(|at| self.key_after_colon(after_is(self.text, at)?, &|_| Some(())))
            };
            if let Some((at, length)) = found {
                let option = self.option(at, length);
                last = Some(Found {
                    start,
                    end: at + length,
                    option,
                });
            }
        }
        last
    }

    fn key_after_colon(
        &self,
        after: usize,
        suits: &dyn Fn(&str) -> Option<()>,
    ) -> Option<(usize, usize)> {
        let rest = &self.text[after..];
        let rest = rest
            .strip_prefix(':')
            .unwrap_or(rest)
            .trim_start_matches(is_blank);
        let (length, ()) = self.keys.find(rest, suits)?;
        Some((self.text.len() - rest.len(), length))
    }

    /// The same for a number instead of a key.
    pub(super) fn final_number_is(&self, hope: bool) -> Option<Found<'t>> {
        let mut last: Option<Found<'t>> = None;
        let word = if hope {
            "final answer is"
        } else {
            "final answer"
        };
        for (start, after) in Words::new(self.text, word) {
            if last.as_ref().is_some_and(|last| start < last.end) {
                continue;
            }
            let found = if hope {
                let after = after + usize::from(self.text[after..].starts_with(':'));
                let rest = self.text[after..].trim_start_matches(is_blank);
                // Of the blanks before the number, the last is its anchor.
                let blanks = &self.text[after..self.text.len() - rest.len()];
                let anchor = blanks.chars().next_back().map_or(0, char::len_utf8);
                self.anchored_number(after + blanks.len() - anchor)
                    .filter(|found| hopes(&self.text[found.end..]))
            } else {
                reach(self.text, after, 100).find_map(|at| {
                    let after = after_is(self.text, at)?;
                    let after = after + usize::from(self.text[after..].starts_with(':'));
                    self.anchored_number(after)
                })
            };
            if let Some(found) = found {
                last = Some(Found { start, ..found });
            }
        }
        last
    }
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

/// `at` and the places up to `count` characters further, within its line.
fn reach(text: &str, at: usize, count: usize) -> impl Iterator<Item = usize> + '_ {
    let steps = text[at..].chars().take(count).take_while(|c| *c != '\n');
    std::iter::once(at).chain(steps.scan(at, |place, c| {
        *place += c.len_utf8();
        Some(*place)
    }))
}

/// The place after blanks and the word "is", if these are at `at`. Within a run of blanks only the
/// first place is tried, as the others lead to the same word.
fn after_is(text: &str, at: usize) -> Option<usize> {
    if text[..at].ends_with(is_blank) {
        return None;
    }
    let rest = &text[at..];
    let word = rest.trim_start_matches(is_blank);
    let is = word.len() < rest.len() && word.as_bytes().get(..2)?.eq_ignore_ascii_case(b"is");
    is.then(|| text.len() - word.len() + 2)
}

/// Where an ASCII word occurs, whatever its case: (start, end).
struct Words<'a> {
    bytes: &'a [u8],
    word: &'a [u8],
    at: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str, word: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            word: word.as_bytes(),
            at: 0,
        }
    }
}

impl Iterator for Words<'_> {
    type Item = (usize, usize);

    fn next(&mut self) -> Option<(usize, usize)> {
        let rest = &self.bytes[self.at..];
        let mut windows = rest.windows(self.word.len());
        let start = self.at + windows.position(|window| window.eq_ignore_ascii_case(self.word))?;
        self.at = start + 1;
        Some((start, start + self.word.len()))
    }
}
