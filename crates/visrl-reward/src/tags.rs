//! Finding tags in a completion, by hand and in linear time.
//!
//! No regular expression engine is involved: each function walks the text a fixed number of
//! times, so that megabytes of nested or unclosed tags cost what megabytes of prose cost. Tags are
//! the paper's, in lower case and without attributes.

use crate::text::{is_blank, strip, strip_start};

const ANSWER: (&str, &str) = ("<answer>", "</answer>");

/// The text of the first `<answer>…</answer>`, over any number of lines and not stripped; the
/// regular expression `<answer>(.*?)</answer>` with DOTALL, which the paper's evaluation uses.
pub fn first_answer(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once(ANSWER.0)?;
    Some(rest.split_once(ANSWER.1)?.0)
}

/// The text of the first `<answer>…</answer>` that stands on one line, not stripped; the regular
/// expression `<answer>(.*?)</answer>` without DOTALL, which the paper's training code uses.
pub fn first_answer_in_line(text: &str) -> Option<&str> {
    text.split('\n').find_map(first_answer)
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
    let mut block = None;
    let mut start = None;
    let mut answer = None;
    for tag in Tags::new(text) {
        match (tag.kind, tag.opens) {
            (Kind::Answer, true) => {
                if block.is_some() || start.is_some() {
                    return None;
                }
                start = Some(tag.end);
            }
            (Kind::Answer, false) => {
                if answer.is_some() {
                    return None;
                }
                answer = Some(&text[start?..tag.start]);
            }
            _ if start.is_some() && answer.is_none() => return None,
            (kind, true) => block = Some(kind),
            (kind, false) => {
                if block.take() != Some(kind) && answer.is_some() {
                    return None;
                }
            }
        }
    }
    answer.map(strip)
}

/// The stripped text of the completion's only `<think>…</think>`, or `None` if there is none or
/// more than one.
pub fn only_thought(text: &str) -> Option<&str> {
    let mut start = None;
    let mut thought = None;
    for tag in Tags::new(text).filter(|tag| tag.kind == Kind::Think) {
        if tag.opens {
            if start.replace(tag.end).is_some() {
                return None;
            }
        } else if thought.replace(&text[start?..tag.start]).is_some() {
            return None;
        }
    }
    thought.map(strip)
}

/// Whether the whole text matches `<think>.*?</think>\s*<answer>.*?</answer>` with DOTALL.
pub(crate) fn is_think_answer(text: &str) -> bool {
    is_sequence(text, ("<think>", "</think>"), ANSWER)
}

/// Whether the whole text matches `<answer>.*?</answer>\s*<reason>.*?</reason>` with DOTALL.
pub(crate) fn is_answer_reason(text: &str) -> bool {
    is_sequence(text, ANSWER, ("<reason>", "</reason>"))
}

/// Whether the whole text matches `<answer>.*?</answer>` with DOTALL.
pub(crate) fn is_answer(text: &str) -> bool {
    inside(text, ANSWER).is_some()
}

/// How often each tag occurs, as `[opening, closing]` of think, answer and reason.
pub(crate) fn tag_counts(text: &str) -> [[usize; 2]; 3] {
    let mut counts = [[0; 2]; 3];
    for tag in Tags::new(text) {
        counts[tag.kind as usize][usize::from(!tag.opens)] += 1;
    }
    counts
}

fn inside<'a>(text: &'a str, (open, close): (&str, &str)) -> Option<&'a str> {
    text.strip_prefix(open)?.strip_suffix(close)
}

fn is_sequence(text: &str, first: (&str, &str), second: (&str, &str)) -> bool {
    let Some(mut rest) = inside(text, (first.0, second.1)) else {
        return false;
    };
    // Runs of blanks after two closing tags do not overlap, so this stays linear.
    while let Some((_, after)) = rest.split_once(first.1) {
        if strip_start(after).starts_with(second.0) {
            return true;
        }
        rest = after;
    }
    false
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
    let mut base = 0;
    while let Some(length) = text[base..].find(ANSWER.1) {
        let segment = &text[base..base + length];
        // Every opening tag of this segment meets the same closing tag. The first one wins whose
        // text, without the blanks at its ends, holds no line break.
        let body_end = segment.trim_end_matches(is_blank).len();
        let last_break = segment[..body_end].rfind('\n');
        let mut from = 0;
        while let Some(at) = segment[from..].find(ANSWER.0) {
            let open_end = from + at + ANSWER.0.len();
            let body = strip_start(&segment[open_end..]);
            let start = segment.len() - body.len();
            if start >= body_end {
                return Some("");
            }
            if last_break.is_none_or(|position| position < start) {
                return Some(&segment[start..body_end]);
            }
            from = open_end;
        }
        base += length + ANSWER.1.len();
    }
    None
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
    text: &'a str,
    from: usize,
}

impl<'a> Tags<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, from: 0 }
    }
}

impl Iterator for Tags<'_> {
    type Item = Tag;

    fn next(&mut self) -> Option<Tag> {
        const KINDS: [(Kind, &str); 3] = [
            (Kind::Think, "think>"),
            (Kind::Answer, "answer>"),
            (Kind::Reason, "reason>"),
        ];
        while let Some(at) = self.text[self.from..].find('<') {
            let start = self.from + at;
            let rest = &self.text[start + 1..];
            let (opens, name) = match rest.strip_prefix('/') {
                Some(name) => (false, name),
                None => (true, rest),
            };
            self.from = start + 1;
            if let Some((kind, tag)) = KINDS.into_iter().find(|(_, tag)| name.starts_with(tag)) {
                let end = self.text.len() - name.len() + tag.len();
                self.from = end;
                return Some(Tag {
                    kind,
                    opens,
                    start,
                    end,
                });
            }
        }
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
        assert_eq!(
            tag_counts("<think><think></answer><reason>"),
            [[2, 0], [0, 1], [1, 0]]
        );
    }
}
