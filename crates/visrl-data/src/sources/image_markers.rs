use std::borrow::Cow;
use std::ops::Range;

use crate::error::Error;

/// The marks of other projects for the place of an image, in lower case.
const MARKERS: [&str; 5] = [
    "<image>",
    "<image_placeholder>",
    "<imagehere>",
    "<|image|>",
    "<|image_pad|>",
];

/// What may stand around a mark, as in Qwen's prompts.
const AROUND: [&str; 2] = ["<|vision_start|>", "<|vision_end|>"];

/// A question of one's own about one image, without the mark of where the image is (`<image>` and
/// the like): prompts show it first.
///
/// # Errors
///
/// [`Error::Config`] for marks of several images or of one twice, for one that counts from 0, or
/// when nothing else is asked.
pub fn own_question(question: &str) -> Result<Cow<'_, str>, Error> {
    let fail = |message: String| {
        let field = "question";
        Err(Error::Config { field, message })
    };
    let (text, marks) = strip(question);
    match &marks[..] {
        [] => Ok(text),
        marks if marks.contains(&Mark::Unknown) => {
            fail("marks an image in a way that is not known; write `<image>` or nothing".into())
        }
        [Mark::Numbered(number), ..] if *number != "1" => fail(format!(
            "marks the place of image {number}; there is one, and it is image 1"
        )),
        [_, _, ..] => fail("marks the places of several images; there is one".into()),
        [_] if text.is_empty() => fail("marks the place of an image, and asks nothing".into()),
        [_] => Ok(text),
    }
}

/// The text without marks, and those of images.
fn strip(text: &str) -> (Cow<'_, str>, Vec<Mark<'_>>) {
    let (mut kept, mut rest, mut found) = (String::new(), 0, false);
    let mut images = Vec::new();
    for (place, mark) in marks(text) {
        found = true;
        join(&mut kept, &text[rest..place.start]);
        rest = place.end;
        images.push(mark);
    }
    if !found {
        return (Cow::Borrowed(text), images);
    }
    join(&mut kept, &text[rest..]);
    let kept = kept.trim().to_owned();
    (Cow::Owned(kept), images)
}

/// A mark in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark<'t> {
    /// The place of the next image.
    Image,
    /// The place of the image of a number, in its digits without zeros before them: `<image 2>`.
    Numbered(&'t str),
    /// What begins as a mark and is none that is known: `<image -1>`, `<image_token>`, `</image>`,
    /// an `<image` that is not closed, a `<|vision_start|>` without its image and its end.
    Unknown,
}

/// The marks of a text in their order, with their places; that of Qwen's has what stands around it.
pub(crate) fn marks(text: &str) -> impl Iterator<Item = (Range<usize>, Mark<'_>)> {
    let mut from = 0;
    std::iter::from_fn(move || {
        loop {
            let start = from + text[from..].find('<')?;
            if let Some((length, mark)) = first_mark(&text[start..]) {
                from = start + length;
                return Some((start..from, mark));
            }
            from = start + 1;
        }
    })
}

/// The mark that a text begins with, and its length.
fn first_mark(text: &str) -> Option<(usize, Mark<'_>)> {
    let Some(end) = text.find('>') else {
        let word = text.split_once(char::is_whitespace);
        let word = word.map_or(text, |(word, _)| word);
        let is_open = is_image_word(word.trim_start_matches(['<', '/', '|']));
        return is_open.then_some((word.len(), Mark::Unknown));
    };
    let length = end + 1;
    let tag = &text[..length];
    let [start, end] = AROUND.map(|around| tag.eq_ignore_ascii_case(around));
    if !start && !end {
        return Some((length, mark(tag)?));
    }
    let within = || {
        let rest = text[length..].trim_start();
        let close = rest.find('>')? + 1;
        let image = mark(&rest[..close]).filter(|mark| *mark != Mark::Unknown)?;
        let rest = rest[close..].trim_start();
        let last = rest.get(..AROUND[1].len())?;
        let is_end = last.eq_ignore_ascii_case(AROUND[1]);
        is_end.then(|| (text.len() - rest.len() + last.len(), image))
    };
    let whole = if start { within() } else { None };
    Some(whole.unwrap_or((length, Mark::Unknown)))
}

/// Whether a text begins with the word `image`; `imagery` is none.
fn is_image_word(text: &str) -> bool {
    let word = text.split_at_checked("image".len());
    word.is_some_and(|(word, rest)| {
        word.eq_ignore_ascii_case("image") && !rest.starts_with(char::is_alphabetic)
    })
}

fn mark(tag: &str) -> Option<Mark<'_>> {
    if MARKERS.iter().any(|known| tag.eq_ignore_ascii_case(known)) {
        return Some(Mark::Image);
    }
    let inner = tag.strip_prefix('<')?.strip_suffix('>')?;
    let inner = inner
        .strip_prefix('|')
        .and_then(|inner| inner.strip_suffix('|'))
        .unwrap_or(inner);
    if inner.strip_prefix('/').is_some_and(is_image_word) {
        return Some(Mark::Unknown);
    }
    if !is_image_word(inner) {
        return None;
    }
    let rest = &inner["image".len()..];
    let number = rest.strip_prefix(['_', '-', '#']).unwrap_or(rest).trim();
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(Mark::Unknown);
    }
    Some(Mark::Numbered(match number.trim_start_matches('0') {
        "" => "0",
        number => number,
    }))
}

/// Puts what stands behind a mark behind what stood before it: of the blanks around the mark one
/// stays, a line break if there was one, and none before a full stop.
fn join(kept: &mut String, next: &str) {
    let before = kept.trim_end();
    let after = next.trim_start();
    if before.is_empty() {
        next.clone_into(kept);
        return;
    }
    let blanks = [&kept[before.len()..], &next[..next.len() - after.len()]].concat();
    let blank = match after.starts_with(['.', ',', ';', ':', '?', '!', ')']) {
        true => "",
        false if blanks.contains('\n') => "\n",
        false if blanks.is_empty() => "",
        false => " ",
    };
    kept.truncate(before.len());
    kept.push_str(blank);
    kept.push_str(after);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_at_any_place_is_no_part_of_the_question() {
        for (question, text) in [
            ("<image>What is it?", "What is it?"),
            ("<image>\nWhat is it?", "What is it?"),
            ("What is it?<image>", "What is it?"),
            ("What is it?\n<image>\n", "What is it?"),
            ("What is in <image>, a cat?", "What is in, a cat?"),
            ("The image <image> shows what?", "The image shows what?"),
            ("One line.\n<image>\nAnother.", "One line.\nAnother."),
            ("<Image 1> What is it?", "What is it?"),
            ("<|image_1|>What is it?", "What is it?"),
            (
                "<|vision_start|><|image_pad|><|vision_end|>What is it?",
                "What is it?",
            ),
            ("a <|image_pad|> b", "a b"),
            ("1 <imagery", "1 <imagery"),
            // Without a mark a question stays as it is written.
            (" Is 1 < 2, or <b>? ", " Is 1 < 2, or <b>? "),
            ("<imagery> ", "<imagery> "),
            ("<images 2>?", "<images 2>?"),
        ] {
            assert_eq!(own_question(question).unwrap(), text, "{question}");
        }
    }

    #[test]
    fn what_marks_no_image_or_several_is_refused() {
        for question in [
            "<image>",
            "<image><image>Which?",
            "<image 1> or <image 1>?",
            "a <image> b <image_1>",
            "<image 0>Which?",
            "<image 2>Which?",
            "<image 99999999999999999999>Which?",
            "<image -1>Which?",
            "<image_token>Which?",
            "<image></image>Which?",
            "Which <image",
            "Which <image 1",
            "<|vision_start|><|vision_end|>Which?",
            "<|vision_start|>Which?",
            "<|vision_start|><|image_pad|>Which?",
            "<|image_pad|><|vision_end|>Which?",
        ] {
            let message = own_question(question).unwrap_err().to_string();
            assert!(message.starts_with("field `question`: marks"), "{message}");
        }
    }

    #[test]
    fn marks_have_their_places_and_numbers_any_size() {
        let found: Vec<_> =
            marks("a < b <image 007>\u{e9}<IMAGE><image-99999999999999999999>").collect();
        let numbered = Mark::Numbered("99999999999999999999");
        assert_eq!(
            found,
            [
                (6..17, Mark::Numbered("7")),
                (19..26, Mark::Image),
                (26..54, numbered)
            ]
        );
    }
}
