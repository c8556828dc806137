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
        match (merged.last_mut(), part) {
            (Some(Part::Text(text)), Part::Text(more)) => text.push_str(&more),
            (_, part) => merged.push(part),
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
}

/// Puts the images of a column where their marks stand; those without a mark go in front.
/// `columns` are that of the text and that of the images.
///
/// # Errors
/// More places than images; fewer places in parts than images; images in parts and in the column;
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
    let mut numbers: Vec<usize> = Vec::new();
    for piece in &pieces {
        if let Piece::Numbered(number) = piece
            && !numbers.contains(number)
        {
            numbers.push(*number);
        }
    }
    let numbered = numbers.iter().copied().max().unwrap_or(0);
    let places = plain.saturating_add(numbered);
    let total = images.len();
    if held > 0 && total > 0 {
        let message = format!("is filled, and `{column}` has images in its parts; leave one");
        return Err(at.error(images_name, message));
    }
    if held == 0 && total == 0 {
        let message = match places {
            0 => "holds no image; each row needs one",
            _ => "holds no image, and the question marks the place of one",
        };
        return Err(at.error(images_name, message));
    }
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
    let mut front = Vec::new();
    if numbers.is_empty() {
        let more = total - places.min(total);
        front.extend(waiting.iter_mut().take(more).filter_map(Option::take));
    } else {
        let unnamed = |place: usize| !numbers.contains(&(place + 1));
        let spare = total - plain - numbers.len();
        let free = waiting
            .iter_mut()
            .enumerate()
            .filter(|(place, _)| unnamed(*place));
        front.extend(free.take(spare).filter_map(|(_, picture)| picture.take()));
    }
    let fewer_marks = !front.is_empty() && held == 0;
    let mut placed: Vec<Part> = front.into_iter().map(Part::Image).collect();
    for piece in pieces {
        match piece {
            Piece::Text(text) => match placed.last_mut() {
                Some(Part::Text(before)) => before.push_str(&text),
                _ => placed.push(Part::Text(text)),
            },
            Piece::Image(value) => placed.push(Part::Image(picture(&value)?)),
            Piece::Numbered(number) => {
                let found = waiting
                    .get_mut(number.wrapping_sub(1))
                    .and_then(Option::take);
                placed.extend(found.map(Part::Image));
            }
            Piece::Place { .. } => {
                let free = |(place, picture): &(usize, &mut Option<Picture>)| {
                    picture.is_some() && !numbers.contains(&(place + 1))
                };
                let next = waiting.iter_mut().enumerate().find(free);
                placed.extend(next.and_then(|(_, next)| next.take()).map(Part::Image));
            }
        }
    }
    Ok(Placed {
        parts: placed,
        fewer_marks,
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
