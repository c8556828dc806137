//! The little LaTeX that the CV-Bench parse understands.

use crate::text::strip;

use super::cv_bench_option::{CvBenchOption, Found};

/// The text of the last of the boxes that `\boxed{` … the last `}` spans.
pub(super) fn boxed(text: &str) -> Option<Found<'_>> {
    let start = text.find("\\boxed{")?;
    let end = text.rfind('}')? + 1;
    let last = text[..end].rfind("\\boxed{")? + "\\boxed{".len();
    let inner = text.get(last..end - 1)?;
    plain(inner).map(|option| Found { start, end, option })
}

/// The last text between dollar signs, paired from left to right: `$$…$$`, or `$…$` on one line
/// whose first sign follows neither a digit nor a backslash.
pub(super) fn dollars(text: &str) -> Option<Found<'_>> {
    let mut last = None;
    let mut from = 0;
    while let Some(start) = text[from..].find('$').map(|at| from + at) {
        let pair = pair(text, start);
        from = pair.map_or(start + 1, |(_, end)| end);
        last = pair.and_then(|pair| found(start, pair)).or(last);
    }
    last
}

/// The text between dollar signs, of which the first is at `start`.
pub(super) fn dollars_at(text: &str, start: usize) -> Option<Found<'_>> {
    found(start, pair(text, start)?)
}

fn found(start: usize, (inner, end): (&str, usize)) -> Option<Found<'_>> {
    plain(inner).map(|option| Found { start, end, option })
}

fn pair(text: &str, start: usize) -> Option<(&str, usize)> {
    if !text[start..].starts_with('$') {
        return None;
    }
    double_dollars(text, start).or_else(|| single_dollars(text, start))
}

fn double_dollars(text: &str, start: usize) -> Option<(&str, usize)> {
    let inner = text[start..]
        .strip_prefix("$$")
        .filter(|_| !text[..start].ends_with('\\'))?;
    let first = inner.chars().next()?.len_utf8();
    let length = first + inner[first..].find("$$")?;
    Some((&inner[..length], start + length + 4))
}

fn single_dollars(text: &str, start: usize) -> Option<(&str, usize)> {
    if text[..start].ends_with(|c: char| c == '\\' || c.is_ascii_digit()) {
        return None;
    }
    let inner = &text[start + 1..];
    let length = inner
        .find(['$', '\n'])
        .filter(|at| *at > 0 && inner[*at..].starts_with('$'))?;
    Some((&inner[..length], start + length + 2))
}

fn plain(inner: &str) -> Option<CvBenchOption<'_>> {
    let inner = strip(inner);
    let is_plain = !inner.is_empty() && !inner.contains(['\\', '{', '}', '$', '\n']);
    is_plain.then(|| CvBenchOption::Other(inner.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_and_dollars() {
        let text = |found: Option<Found<'_>>| found.map(|found| found.option.text().to_owned());
        assert_eq!(
            text(boxed("so \\boxed{A} or \\boxed{ B }.")).as_deref(),
            Some("B")
        );
        for none in [
            "",
            "\\boxed{",
            "}\\boxed{B",
            "\\boxed{}",
            "\\boxed{\\frac{1}{2}}",
        ] {
            assert_eq!(text(boxed(none)), None, "{none}");
        }
        assert_eq!(text(dollars("$A$ or $B$ for $5")).as_deref(), Some("B"));
        assert_eq!(text(dollars("it is $$\nleft$$")), Some("left".into()));
        for none in ["", "$", "$$", "$$$", "$a\nb$", "3$x$", "\\$x$"] {
            assert_eq!(text(dollars(none)), None, "{none}");
        }
    }
}
