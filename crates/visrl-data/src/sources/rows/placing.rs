use visrl_core::Content;

use crate::error::Error;
use crate::sources::rows::at::At;
use crate::sources::rows::marks::Piece;
use crate::sources::rows::pictures::Picture;
use crate::sources::rows::value::Value;

/// A part of a user's turn, with its picture.
pub(crate) enum Part {
    Text(String),
    Image(Picture),
}

impl Part {
    /// The path of the picture, as it stands in the row.
    pub(crate) fn path(&self) -> Option<&str> {
        match self {
            Self::Image(picture) => picture.path.as_deref(),
            Self::Text(_) => None,
        }
    }
}

/// The parts with texts that meet made one.
pub(crate) fn merged(parts: Vec<Part>) -> Vec<Part> {
    let mut merged: Vec<Part> = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Text(text) => push_text(&mut merged, text),
            part => merged.push(part),
        }
    }
    merged
}

/// The parts of a prompt's turn.
pub(crate) fn contents(parts: Vec<Part>) -> Vec<Content> {
    let parts = parts.into_iter().map(|part| match part {
        Part::Text(text) => Content::Text(text),
        Part::Image(picture) => Content::Image(picture.source),
    });
    parts.collect()
}

/// A user's turn with its images.
pub(crate) struct Placed {
    pub(crate) parts: Vec<Part>,
    /// Whether images without a mark were put in front.
    pub(crate) fewer_marks: bool,
    /// The first mark that names an image again, which stays as text: the image stands at the
    /// first place.
    pub(crate) again: Option<String>,
}

/// The place of an image by its number, which counts from 1.
fn place_of(number: &str, total: usize) -> Option<usize> {
    let place = number.parse::<usize>().ok()?.checked_sub(1)?;
    (place < total).then_some(place)
}

/// The places of the images that marks name by their numbers, each once.
fn numbers(pieces: &[Piece], total: usize) -> Result<Vec<usize>, String> {
    let mut places = Vec::new();
    for piece in pieces {
        let Piece::Numbered { number, mark } = piece else {
            continue;
        };
        let place = place_of(number, total).ok_or_else(|| match total {
            1 => format!("has {mark}, and there is one image, whose number is 1"),
            _ => format!("has {mark}, and there are {total} images, counted from 1"),
        })?;
        if !places.contains(&place) {
            places.push(place);
        }
    }
    Ok(places)
}

/// Adds a text; texts that meet become one.
fn push_text(parts: &mut Vec<Part>, text: String) {
    match parts.last_mut() {
        Some(Part::Text(before)) => before.push_str(&text),
        _ => parts.push(Part::Text(text)),
    }
}

/// Puts the images of a column where their marks stand; those without a mark go in front.
/// `columns` are that of the text and that of the images.
///
/// # Errors
/// A number that no image has; more places than images; fewer places in parts than images; images in parts and in the column;
/// no image at all.
pub(crate) fn place_images(
    pieces: Vec<Piece>,
    images: Vec<Picture>,
    at: At<'_>,
    (column, images_name): (&str, &str),
    mut picture: impl FnMut(&Value) -> Result<Picture, Error>,
) -> Result<Placed, Error> {
    let count = |is: fn(&Piece) -> bool| pieces.iter().filter(|piece| is(piece)).count();
    let held = count(|piece| matches!(piece, Piece::Image(_)));
    let parts = count(|piece| matches!(piece, Piece::Place { is_part: true }));
    let plain = count(|piece| matches!(piece, Piece::Place { .. }));
    let total = images.len();
    if held > 0 && total > 0 {
        let message = format!("is filled, and `{column}` has images in its parts; leave one");
        return Err(at.error(images_name, message));
    }
    if held == 0 && total == 0 {
        let is_mark = |piece: &Piece| matches!(piece, Piece::Place { .. } | Piece::Numbered { .. });
        let message = match pieces.iter().any(is_mark) {
            false => "holds no image; each row needs one",
            true => "holds no image, and the question marks the place of one",
        };
        return Err(at.error(images_name, message));
    }
    let numbers = numbers(&pieces, total).map_err(|message| at.error(column, message))?;
    let places = plain + numbers.len();
    if places > total {
        let message = format!("marks the places of {places} images, and there are {total}");
        return Err(at.error(column, message));
    }
    if held == 0 && parts > 0 && places < total {
        let message = format!("has places for {places} images, and there are {total}");
        return Err(at.error(column, message));
    }
    // By number, or the next in order; the first ones are those without a mark.
    let mut waiting: Vec<Option<Picture>> = images.into_iter().map(Some).collect();
    let free = waiting.iter_mut().enumerate();
    let free = free.filter(|(place, _)| !numbers.contains(place));
    let front = free.take(total - places);
    let front: Vec<Picture> = front.filter_map(|(_, picture)| picture.take()).collect();
    let fewer_marks = !front.is_empty() && held == 0;
    let mut again = None;
    let mut placed: Vec<Part> = front.into_iter().map(Part::Image).collect();
    for piece in pieces {
        match piece {
            Piece::Text(text) => push_text(&mut placed, text),
            Piece::Image(value) => placed.push(Part::Image(picture(&value)?)),
            Piece::Numbered { number, mark } => {
                let place = place_of(&number, total);
                let found = place.and_then(|place| waiting.get_mut(place)?.take());
                match found {
                    Some(image) => placed.push(Part::Image(image)),
                    None => {
                        again.get_or_insert_with(|| mark.clone());
                        push_text(&mut placed, mark);
                    }
                }
            }
            Piece::Place { .. } => {
                let free = |(place, picture): &(usize, &mut Option<Picture>)| {
                    picture.is_some() && !numbers.contains(place)
                };
                let next = waiting.iter_mut().enumerate().find(free);
                placed.extend(next.and_then(|(_, next)| next.take()).map(Part::Image));
            }
        }
    }
    Ok(Placed {
        parts: placed,
        fewer_marks,
        again,
    })
}

/// The texts of a user's turn, joined.
pub(crate) fn without_marks(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match part {
        Part::Text(text) => Some(&text[..]),
        Part::Image(_) => None,
    });
    texts.collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use visrl_core::ImageSource;

    use super::*;
    use crate::sources::rows::marks::pieces;

    /// What a question with so many images becomes: texts, and images by their numbers from 0.
    fn placed(text: &str, images: usize) -> Result<(String, Option<String>), String> {
        let at = At::line(Path::new("f"), 1);
        let pictures = (0..images).map(|number| Picture {
            source: ImageSource::path(number.to_string()),
            path: Some(number.to_string()),
        });
        let pieces = pieces(text, at, "q", false).unwrap();
        let none = |_: &Value| Err(at.error("q", "holds an image"));
        let placed = place_images(pieces, pictures.collect(), at, ("q", "images"), none);
        let placed = placed.map_err(|error| error.to_string())?;
        let parts = placed.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Image(picture) => format!("[{}]", picture.source.name()),
        });
        Ok((parts.collect(), placed.again))
    }

    #[test]
    fn images_stand_where_marks_name_them() {
        for (text, images, parts) in [
            ("a <image 2> b <image 1>", 2, "a [1] b [0]"),
            ("a <image 2> b <image>", 2, "a [1] b [0]"),
            ("a <image> b", 3, "[0][1]a [2] b"),
            ("a <image_3> b <image>", 3, "[0]a [2] b [1]"),
            ("a <|image_1|> b", 1, "a [0] b"),
        ] {
            let found = placed(text, images).unwrap();
            assert_eq!(found, (parts.to_owned(), None), "{text}");
        }
    }

    #[test]
    fn a_number_that_is_named_again_stays_as_text_and_is_told() {
        let (parts, again) = placed("<image 1> Is it? See <image 1>.", 1).unwrap();
        assert_eq!(parts, "[0] Is it? See <image 1>.");
        assert_eq!(again.as_deref(), Some("<image 1>"));
    }

    #[test]
    fn a_number_that_no_image_has_is_named_as_it_is_written() {
        for (text, images, fault) in [
            (
                "<image 0> a",
                1,
                "has <image 0>, and there is one image, whose number is 1",
            ),
            (
                "<image 3> a",
                2,
                "has <image 3>, and there are 2 images, counted from 1",
            ),
            (
                "<image 99999999999999999999> a",
                2,
                "has <image 99999999999999999999>, and there are 2 images, counted from 1",
            ),
            (
                "<image 1> <image>",
                1,
                "marks the places of 2 images, and there are 1",
            ),
        ] {
            let message = placed(text, images).unwrap_err();
            assert_eq!(message, format!("f: line 1: field `q`: {fault}"));
        }
    }
}
