//! Finding tags in a completion, by hand and in linear time.
//!
//! No regular expression engine is involved: each function walks the bytes of the text once or
//! twice, at a fixed cost for each, so that megabytes of nested, unclosed or almost-tags cost what
//! megabytes of prose cost. Tags are the paper's, in lower case and without attributes.

use std::ops::Range;

use memchr::memchr;
use memchr::memmem::find;

use crate::text::{is_blank, strip, strip_start};

/// The text of the first `<answer>…</answer>`, over any number of lines and not stripped; the
/// regular expression `<answer>(.*?)</answer>` with DOTALL, which the paper's evaluation uses.
pub fn first_answer(text: &str) -> Option<&str> {
    let start = find(text.as_bytes(), b"<answer>")? + "<answer>".len();
    let length = find(&text.as_bytes()[start..], b"</answer>")?;
    Some(&text[start..start + length])
}

/// The text of the first `<answer>…</answer>` that stands on one line, not stripped; the regular
/// expression `<answer>(.*?)</answer>` without DOTALL, which the paper's training code uses.
pub fn first_answer_in_line(text: &str) -> Option<&str> {
    let mut start: Option<usize> = None;
    // Up to here there is no line break after `start`.
    let mut checked = 0;
    for tag in Tags::new(text).filter(|tag| tag.kind == Kind::Answer) {
        if start.is_some() {
            if memchr(b'\n', &text.as_bytes()[checked..tag.start]).is_some() {
                start = None;
            }
            checked = tag.end;
        }
        match start {
            Some(start) if !tag.opens => return Some(&text[start..tag.start]),
            None if tag.opens => {
                start = Some(tag.end);
                checked = tag.end;
            }
            _ => {}
        }
    }
    None
}

/// The answer as the paper's evaluation takes it: the stripped text of [`first_answer`], or the
/// whole stripped completion when there is none or it is empty.
pub fn evaluation_answer(text: &str) -> &str {
    match first_answer(text).map(strip) {
        Some(answer) if !answer.is_empty() => answer,
        _ => strip(text),
    }
}

/// The answer as the paper's training code takes it: the stripped text of
/// [`first_answer_in_line`], or the whole stripped completion when there is none.
pub fn training_answer(text: &str) -> &str {
    strip(first_answer_in_line(text).unwrap_or(text))
}

/// The stripped text of the completion's only answer, or `None` if there is any doubt which text
/// that is.
///
/// There must be exactly one `<answer>` and one `</answer>`, with no other tag between them, and
/// they must lie outside of `<think>` and `<reason>` blocks. A `</think>` whose `<think>` stands in
/// the prompt is fine before the answer; after it, it shows that the answer was part of the
/// thought.
pub fn only_answer(text: &str) -> Option<&str> {
    let mut answer = OnlyAnswer::default();
    Tags::new(text).try_for_each(|tag| answer.take(&tag))?;
    answer.text(text)
}

/// The stripped text of the completion's only `<think>…</think>`, or `None` if there is none or
/// more than one.
pub fn only_thought(text: &str) -> Option<&str> {
    let mut thought = OnlyThought::default();
    Tags::new(text).try_for_each(|tag| thought.take(&tag))?;
    thought.text(text)
}

/// [`only_thought`] and [`only_answer`] in one walk.
pub(crate) fn only_thought_and_answer(text: &str) -> Option<(&str, &str)> {
    let mut thought = OnlyThought::default();
    let mut answer = OnlyAnswer::default();
    Tags::new(text).try_for_each(|tag| thought.take(&tag).and_then(|()| answer.take(&tag)))?;
    Some((thought.text(text)?, answer.text(text)?))
}

/// What is known of a completion's only answer after some of its tags.
#[derive(Default)]
struct OnlyAnswer {
    /// The open block around this place.
    block: Option<Kind>,
    start: Option<usize>,
    range: Option<Range<usize>>,
}

impl OnlyAnswer {
    /// Goes on with the next tag; `None` if it shows that there is no such answer.
    fn take(&mut self, tag: &Tag) -> Option<()> {
        let may_go_on = match (tag.kind, tag.opens) {
            (Kind::Answer, true) => {
                let first = self.start.replace(tag.end).is_none();
                first && self.block.is_none()
            }
            (Kind::Answer, false) => self.range.replace(self.start?..tag.start).is_none(),
            _ if self.start.is_some() && self.range.is_none() => false,
            (kind, true) => {
                self.block = Some(kind);
                true
            }
            (kind, false) => self.block.take() == Some(kind) || self.range.is_none(),
        };
        may_go_on.then_some(())
    }

    fn text(self, text: &str) -> Option<&str> {
        self.range.map(|range| strip(&text[range]))
    }
}

/// What is known of a completion's only thought after some of its tags.
#[derive(Default)]
struct OnlyThought {
    start: Option<usize>,
    range: Option<Range<usize>>,
}

impl OnlyThought {
    /// Goes on with the next tag; `None` if it shows that there is no such thought.
    fn take(&mut self, tag: &Tag) -> Option<()> {
        let may_go_on = match (tag.kind, tag.opens) {
            (Kind::Think, true) => self.start.replace(tag.end).is_none(),
            (Kind::Think, false) => self.range.replace(self.start?..tag.start).is_none(),
            _ => true,
        };
        may_go_on.then_some(())
    }

    fn text(self, text: &str) -> Option<&str> {
        self.range.map(|range| strip(&text[range]))
    }
}

/// Whether the whole text matches `<think>.*?</think>\s*<answer>.*?</answer>` with DOTALL.
pub(crate) fn is_think_answer(text: &str) -> bool {
    inside(text, "<think>", "</answer>").is_some_and(|text| turns(text, Kind::Think, "<answer>"))
}

/// Whether the whole text matches `<answer>.*?</answer>\s*<reason>.*?</reason>` with DOTALL.
pub(crate) fn is_answer_reason(text: &str) -> bool {
    inside(text, "<answer>", "</reason>").is_some_and(|text| turns(text, Kind::Answer, "<reason>"))
}

/// Whether the whole text matches `<answer>.*?</answer>` with DOTALL.
pub(crate) fn is_answer(text: &str) -> bool {
    inside(text, "<answer>", "</answer>").is_some()
}

/// Whether each tag occurs as often as `counts` says, `[opening, closing]` of think, answer and
/// reason.
pub(crate) fn has_tags(text: &str, counts: [[usize; 2]; 3]) -> bool {
    let mut left = counts;
    for tag in Tags::new(text) {
        let left = &mut left[tag.kind as usize][usize::from(!tag.opens)];
        match left.checked_sub(1) {
            Some(less) => *left = less,
            None => return false,
        }
    }
    left == [[0; 2]; 3]
}

fn inside<'a>(text: &'a str, open: &str, close: &str) -> Option<&'a str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

/// Whether, somewhere, the closing tag of `first` is followed by blanks or nothing and `second`.
fn turns(text: &str, first: Kind, second: &str) -> bool {
    // Runs of blanks after two closing tags do not overlap, so this stays linear.
    Tags::new(text)
        .filter(|tag| tag.kind == first && !tag.opens)
        .any(|tag| strip_start(&text[tag.end..]).starts_with(second))
}

/// The answer as the paper's CV-Bench evaluation takes it: the regular expression
/// `<answer>\s*(.*?)\s*</answer>` without DOTALL (blanks at the ends may hold line breaks, the
/// answer may not), or the whole completion, unstripped, when nothing or nothing but blanks is
/// found.
pub fn cv_bench_answer(text: &str) -> &str {
    match cv_bench_match(text) {
        Some(answer) if !answer.is_empty() => answer,
        _ => text,
    }
}

fn cv_bench_match(text: &str) -> Option<&str> {
    // Every opening tag since the last closing one meets the next closing one.
    let mut first_open = None;
    for tag in Tags::new(text).filter(|tag| tag.kind == Kind::Answer) {
        if tag.opens {
            first_open = first_open.or(Some(tag.end));
        } else if let Some(open) = first_open.take()
            && let Some(answer) = line_before(&text[open..tag.start])
        {
            return Some(answer);
        }
    }
    None
}

/// The answer of the first opening tag whose text, without the blanks at its ends, holds no line
/// break. `segment` begins after an opening tag and ends before a closing one; more opening tags
/// may stand in it.
fn line_before(segment: &str) -> Option<&str> {
    let body = segment.trim_end_matches(is_blank);
    let Some(at) = body.rfind('\n') else {
        return Some(strip_start(body));
    };
    // A tag before the last line break counts only if blanks alone lie between the two.
    let before = body[..at].trim_end_matches(is_blank);
    if before.is_empty() || before.ends_with("<answer>") {
        return Some(strip_start(&body[at..]));
    }
    let start = find(&body.as_bytes()[at..], b"<answer>")? + "<answer>".len();
    Some(strip_start(&body[at + start..]))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Think = 0,
    Answer = 1,
    Reason = 2,
}

struct Tag {
    kind: Kind,
    opens: bool,
    start: usize,
    end: usize,
}

/// The tags of a text in order.
struct Tags<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tags<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: 0,
        }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        // Byte by byte: a search for the next `<` that starts anew at each costs several times as
        // much on a flood of them.
        let bytes = self.bytes;
        let mut at = self.at;
        while let Some(byte) = bytes.get(at) {
            let start = at;
            at += 1;
            if *byte != b'<' {
                continue;
            }
            let opens = bytes.get(at) != Some(&b'/');
            let name = at + usize::from(!opens);
            let (kind, tag): (Kind, &[u8]) = match bytes.get(name) {
                Some(b't') => (Kind::Think, b"think>"),
                Some(b'a') => (Kind::Answer, b"answer>"),
                Some(b'r') => (Kind::Reason, b"reason>"),
                _ => continue,
            };
            if bytes[name..].starts_with(tag) {
                let end = name + tag.len();
                self.at = end;
                return Some(Tag {
                    kind,
                    opens,
                    start,
                    end,
                });
            }
        }
        self.at = at;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_answer_refuses_doubt() {
        assert_eq!(only_answer("<answer> cat\n</answer>"), Some("cat"));
        assert_eq!(
            only_answer("<think>a</think><answer>cat</answer>"),
            Some("cat")
        );
        assert_eq!(only_answer("a</think><answer>cat</answer>"), Some("cat"));
        assert_eq!(
            only_answer("<answer>cat</answer><reason>b</reason>"),
            Some("cat")
        );
        for text in [
            "cat",
            "<answer>cat",
            "cat</answer>",
            "</answer>cat<answer>",
            "<answer>cat</answer><answer>cat</answer>",
            "<answer>cat</answer></answer>",
            "<answer><answer>cat</answer>",
            "<think><answer>cat</answer></think>",
            "<think><answer>cat</answer>",
            "<answer>cat</answer></think>",
            "<reason><answer>cat</answer></reason>",
            "<answer><think>cat</think></answer>",
            "<Answer>cat</Answer>",
        ] {
            assert_eq!(only_answer(text), None, "{text}");
        }
    }

    #[test]
    fn only_thought_takes_one() {
        assert_eq!(
            only_thought("<think> a <answer>b</answer></think>c"),
            Some("a <answer>b</answer>")
        );
        for text in [
            "",
            "<think>",
            "</think><think>",
            "<think></think><think></think>",
        ] {
            assert_eq!(only_thought(text), None, "{text}");
        }
        assert_eq!(only_thought("<think></think>"), Some(""));
    }

    #[test]
    fn answers_of_the_reference() {
        assert_eq!(first_answer("<answer>a\nb</answer>"), Some("a\nb"));
        assert_eq!(
            first_answer_in_line("<answer>a\nb</answer><answer>c</answer>"),
            Some("c")
        );
        assert_eq!(
            first_answer_in_line("x <answer>\n<answer>b</answer>"),
            Some("b")
        );
        assert_eq!(
            training_answer("<answer>a\n</answer>"),
            "<answer>a\n</answer>"
        );
        assert_eq!(
            evaluation_answer(" <answer> </answer> "),
            "<answer> </answer>"
        );
    }

    #[test]
    fn cv_bench_breaks_lines_at_the_ends_only() {
        assert_eq!(cv_bench_answer("<answer>\n (B)\n </answer>"), "(B)");
        assert_eq!(
            cv_bench_answer("<answer>a\nb</answer>"),
            "<answer>a\nb</answer>"
        );
        assert_eq!(cv_bench_answer("<answer>a\n<answer>b</answer>"), "b");
        assert_eq!(
            cv_bench_answer("<answer>a\nb</answer><answer>\nc</answer>"),
            "c"
        );
        assert_eq!(
            cv_bench_answer("<answer>\n</answer>x"),
            "<answer>\n</answer>x"
        );
    }

    #[test]
    fn formats_are_full_matches() {
        assert!(is_think_answer(
            "<think>\na</think>\u{3000}\n<answer></answer>"
        ));
        assert!(is_think_answer(
            "<think>a</think>b</think><answer>x</answer>y</answer>"
        ));
        assert!(!is_think_answer(" <think>a</think><answer>x</answer>"));
        assert!(!is_think_answer("<think>a</think><answer>x</answer>\n"));
        assert!(!is_think_answer(
            "<think>a</think>\u{200b}<answer>x</answer>"
        ));
        assert!(!is_think_answer("<think></answer>"));
        assert!(is_answer_reason("<answer>a</answer> <reason>b</reason>"));
        assert!(!is_answer_reason("<reason>b</reason><answer>a</answer>"));
        assert!(is_answer("<answer></answer>") && !is_answer("<answer>"));
        let counts = [[2, 0], [0, 1], [1, 0]];
        assert!(has_tags("<think><think></answer><reason>", counts));
        assert!(!has_tags("<think><think></answer>", counts));
        assert!(!has_tags("<think><think><think></answer><reason>", counts));
    }
}
