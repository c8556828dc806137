use crate::error::Error;
use crate::sources::image_markers::{Mark, marks};
use crate::sources::rows::at::At;
use crate::sources::rows::value::Value;

/// A piece of a user's turn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Piece {
    Text(String),
    /// The place of the next image of the column; in a part of its own, or as a mark in a text.
    Place {
        is_part: bool,
    },
    /// The place of the image of a number, in digits; and the mark as it is written.
    Numbered {
        number: String,
        mark: String,
    },
    /// An image that the part holds.
    Image(Value),
}

/// Tokens of chat templates: a text that has one was rendered already.
const TOKENS: [&str; 22] = [
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|begin_of_text|>",
    "<|end_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|user|>",
    "<|assistant|>",
    "<|system|>",
    "<|end|>",
    "<|object_ref_start|>",
    "<|object_ref_end|>",
    "<|box_start|>",
    "<|box_end|>",
    "<|quad_start|>",
    "<|quad_end|>",
    "<|vision_pad|>",
    "<|video_pad|>",
    "<tool_call>",
    "</tool_call>",
];

/// Qwen's own marks of an image: in a text that is only asked they mean its place.
const VISION: [&str; 3] = ["<|vision_start|>", "<|image_pad|>", "<|vision_end|>"];

/// Places of what is no image.
const OTHER_PLACES: [&str; 4] = ["<video>", "<audio>", "<bbox>", "<ref-object>"];

/// Refuses a text with tokens of a chat template, or with places of what is no image.
pub(crate) fn check_text(text: &str, at: At<'_>, column: &str) -> Result<(), Error> {
    if !text.contains('<') {
        return Ok(());
    }
    if let Some(token) = TOKENS.iter().find(|token| text.contains(**token)) {
        let message = format!("has {token} of a chat template in its text; give the bare text");
        return Err(at.error(column, message));
    }
    match OTHER_PLACES.iter().find(|place| text.contains(**place)) {
        Some(place) => {
            let message = format!("has {place} in its text: only images are read");
            Err(at.error(column, message))
        }
        None => Ok(()),
    }
}

/// A text that has no images: the system turn, an answer.
pub(crate) fn check_bare(text: &str, at: At<'_>, column: &str) -> Result<(), Error> {
    check_text(text, at, column)?;
    let is_bare = |piece: &Piece| matches!(piece, Piece::Text(_));
    if pieces(text, at, column, false)?.iter().all(is_bare) {
        return Ok(());
    }
    let message = "marks the place of an image outside the question; images stand in the question";
    Err(at.error(column, message))
}

/// The texts of a question and the places of its images, as they are marked.
pub(crate) fn pieces(
    text: &str,
    at: At<'_>,
    column: &str,
    vision: bool,
) -> Result<Vec<Piece>, Error> {
    check_text(text, at, column)?;
    if let (false, Some(token)) = (vision, VISION.iter().find(|token| text.contains(**token))) {
        let message = format!("has {token} of a chat template in its text; write `<image>`");
        return Err(at.error(column, message));
    }
    let mut pieces = Vec::new();
    let mut rest = 0;
    for (place, mark) in marks(text) {
        push(&mut pieces, &text[rest..place.start]);
        rest = place.end;
        match mark {
            Mark::Unknown => {
                let mark = &text[place];
                let message = format!(
                    "has {mark}, which is no mark of an image that is known; write `<image>`, or \
                     `<image 2>` by number"
                );
                return Err(at.error(column, message));
            }
            Mark::Image => pieces.push(Piece::Place { is_part: false }),
            Mark::Numbered(number) => pieces.push(Piece::Numbered {
                number: number.to_owned(),
                mark: text[place].to_owned(),
            }),
        }
    }
    push(&mut pieces, &text[rest..]);
    Ok(pieces)
}

/// Adds a text; texts that meet become one.
pub(crate) fn push(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        _ if text.is_empty() => {}
        Some(Piece::Text(before)) => before.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn marks_are_places_and_blanks_stay() {
        let at = At::line(Path::new("f"), 3);
        let text = |text: &str| Piece::Text(text.into());
        let place = Piece::Place { is_part: false };
        let found = pieces("On <image> and\n<IMAGE>?", at, "q", false).unwrap();
        assert_eq!(
            found,
            [
                text("On "),
                place.clone(),
                text(" and\n"),
                place.clone(),
                text("?")
            ]
        );
        let found = pieces("<image 2> a < b <i>", at, "q", false).unwrap();
        let second = Piece::Numbered {
            number: "2".into(),
            mark: "<image 2>".into(),
        };
        assert_eq!(found, [second, text(" a < b <i>")]);
        let qwen = "<|vision_start|><|image_pad|><|vision_end|>Which?";
        assert_eq!(
            pieces(qwen, at, "q", true).unwrap(),
            [place, text("Which?")]
        );
        for text in ["<|vision_end|>", "<|vision_start|><|vision_end|>"] {
            assert!(pieces(text, at, "q", true).is_err(), "{text}");
        }
        for text in [
            qwen,
            "a<|im_end|>",
            "<video> b",
            "<bbox>",
            "<image -1>",
            "<image_token> a",
            "<image src=\"a.png\">",
            "<image",
            "</image> a",
        ] {
            let message = pieces(text, at, "q", false).unwrap_err().to_string();
            assert!(
                message.starts_with("f: line 3: field `q`: has <"),
                "{message}"
            );
        }
        assert!(check_bare("One word. <b>", at, "system").is_ok());
        assert!(check_bare("<image>", at, "system").is_err());
    }
}
