use std::borrow::Cow;
#[cfg(feature = "parquet")]
use std::path::Path;

use crate::error::Error;

/// The marks of other projects for the place of an image, in lower case.
const MARKERS: [&str; 5] = [
    "<image>",
    "<image_placeholder>",
    "<imagehere>",
    "<|image|>",
    "<|image_pad|>",
];

/// What may stand around Qwen's mark.
const AROUND: [&str; 2] = ["<|vision_start|>", "<|vision_end|>"];

/// A question without the marks of where its image is: prompts show the image first, whatever the
/// place of the mark. `None` when nothing else was asked.
///
/// # Errors
///
/// [`Error::Row`] for marks of more images than the one there is.
#[cfg(feature = "parquet")]
pub(crate) fn without_markers<'t>(
    question: &'t str,
    path: &Path,
    row: impl FnOnce() -> String,
    field: &'static str,
) -> Result<Option<Cow<'t, str>>, Error> {
    let (text, images) = strip(question);
    if images > 1 {
        return Err(Error::Row {
            path: path.to_path_buf(),
            row: row(),
            field: field.into(),
            message: format!(
                "marks the places of {images} images (such as `<image>`), but a row has one image; \
                 leave one mark or none"
            ),
        });
    }
    let asked = images == 0 || !text.is_empty();
    Ok(asked.then_some(text))
}

/// A question of one's own about one image, without the mark of where the image is (`<image>` and
/// the like): prompts show it first.
///
/// # Errors
///
/// [`Error::Config`] for marks of several images, or when nothing else is asked.
pub fn own_question(question: &str) -> Result<Cow<'_, str>, Error> {
    let fail = |message: &str| Error::Config {
        field: "question",
        message: message.to_owned(),
    };
    match strip(question) {
        (_, 2..) => Err(fail("marks the places of several images; there is one")),
        (text, 1) if text.is_empty() => Err(fail("marks the place of an image, and asks nothing")),
        (text, _) => Ok(text),
    }
}

/// The text without marks, and how many images they mean.
fn strip(text: &str) -> (Cow<'_, str>, usize) {
    if !text.contains('<') {
        return (Cow::Borrowed(text), 0);
    }
    // ASCII letters keep their places.
    let lower = text.to_ascii_lowercase();
    let (mut kept, mut rest) = (String::new(), 0);
    let (mut plain, mut numbered, mut found) = (0, 0usize, false);
    let mut at = 0;
    while let Some(place) = lower[at..].find('<').map(|place| at + place) {
        let Some(end) = lower[place..].find('>').map(|end| place + end + 1) else {
            break;
        };
        match mark(&lower[place..end]) {
            None => at = place + 1,
            Some(mark) => {
                match mark {
                    Mark::Around => {}
                    Mark::Image => plain += 1,
                    Mark::Numbered(number) => numbered = number.max(numbered),
                }
                found = true;
                join(&mut kept, &text[rest..place]);
                (rest, at) = (end, end);
            }
        }
    }
    if !found {
        return (Cow::Borrowed(text), 0);
    }
    join(&mut kept, &text[rest..]);
    let kept = kept.trim().to_owned();
    (Cow::Owned(kept), numbered.saturating_add(plain))
}

pub(crate) enum Mark {
    Around,
    Image,
    /// `<image 2>`, which may be meant several times.
    Numbered(usize),
}

pub(crate) fn mark(tag: &str) -> Option<Mark> {
    if MARKERS.contains(&tag) {
        return Some(Mark::Image);
    }
    if AROUND.contains(&tag) {
        return Some(Mark::Around);
    }
    let number = tag.strip_prefix("<image")?.strip_suffix('>')?;
    let number = number.strip_prefix([' ', '_', '-']).unwrap_or(number);
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.then(|| number.parse().unwrap_or(usize::MAX))?;
    Some(Mark::Numbered(number.max(1)))
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

    #[cfg(feature = "parquet")]
    fn asked(question: &str) -> Option<String> {
        let row = || "line 1".to_owned();
        let text = without_markers(question, Path::new("f"), row, "problem").unwrap();
        text.map(Cow::into_owned)
    }

    #[cfg(feature = "parquet")]
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
            (
                "<Image 1> What is it? Look at <image 1>.",
                "What is it? Look at.",
            ),
            (
                "<|vision_start|><|image_pad|><|vision_end|>What is it?",
                "What is it?",
            ),
            // Without a mark a question stays as it is written.
            (" Is 1 < 2, or <b>? ", " Is 1 < 2, or <b>? "),
            ("<imagery> ", "<imagery> "),
        ] {
            assert_eq!(asked(question).as_deref(), Some(text), "{question}");
        }
        assert_eq!(asked(""), Some(String::new()));
        assert_eq!(asked(" <image>\n"), None);
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn marks_of_more_images_than_one_are_refused() {
        for question in ["<image><image>?", "<image 2>?", "a <image> b <image_1>"] {
            let row = || "line 7".to_owned();
            let error = without_markers(question, Path::new("f"), row, "problem").unwrap_err();
            let message = error.to_string();
            let start = "f: line 7: field `problem`: marks the places of 2 images";
            assert!(message.starts_with(start), "{message}");
        }
    }

    #[test]
    fn a_configurations_question_has_no_marks() {
        assert_eq!(own_question("<image>Which?").unwrap(), "Which?");
        for question in ["<image>", "<image><image>Which?"] {
            let message = own_question(question).unwrap_err().to_string();
            assert!(message.starts_with("field `question`: marks"), "{message}");
        }
    }
}
