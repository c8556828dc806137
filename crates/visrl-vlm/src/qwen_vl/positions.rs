//! M-RoPE's positions (arXiv 2409.12191, section 2.1).

use crate::error::Error;
use crate::model::positions::Positions;

/// Positions of M-RoPE: text advances all three axes together; an image of grid (t, h, w) spans
/// its merged grid from where the text stood, and text goes on after the longest side.
pub(super) fn positions(
    ids: &[u32],
    grids: &[[usize; 3]],
    image_token: u32,
    merge: usize,
) -> Result<Positions, Error> {
    let mut out = Vec::with_capacity(ids.len());
    let mut next = 0u32;
    let mut grids = grids.iter();
    let mut index = 0;
    while index < ids.len() {
        if ids[index] != image_token {
            out.push([next; 3]);
            next += 1;
            index += 1;
            continue;
        }
        let &[t, h, w] = grids.next().ok_or_else(|| {
            Error::Input(format!("token {index} is an image token without an image"))
        })?;
        let (h, w) = (h / merge, w / merge);
        let count = t * h * w;
        let found = ids[index..]
            .iter()
            .take_while(|&&id| id == image_token)
            .count();
        if count == 0 || found < count {
            return Err(Error::Input(format!(
                "an image of {count} visual tokens has {found} image tokens at token {index}"
            )));
        }
        for time in 0..t {
            for row in 0..h {
                for column in 0..w {
                    out.push([time, row, column].map(|offset| next + offset as u32));
                }
            }
        }
        next += t.max(h).max(w) as u32;
        index += count;
    }
    match grids.next() {
        None => Ok(Positions { ids: out, next }),
        Some(_) => Err(Error::Input(
            "there are more images than image tokens".into(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_on_after_the_longest_side_of_an_image() {
        let ids = [1, 9, 9, 9, 9, 9, 9, 2];
        let found = positions(&ids, &[[1, 4, 6]], 9, 2).unwrap();
        assert_eq!(found.ids[0], [0, 0, 0]);
        assert_eq!(found.ids[1..4], [[1, 1, 1], [1, 1, 2], [1, 1, 3]]);
        assert_eq!(found.ids[6], [1, 2, 3]);
        assert_eq!(found.ids[7], [4, 4, 4]);
        assert_eq!(found.next, 5);
    }

    #[test]
    fn images_and_image_tokens_must_match() {
        assert!(positions(&[9], &[], 9, 2).is_err());
        assert!(positions(&[9], &[[1, 4, 4]], 9, 2).is_err());
        assert!(positions(&[1], &[[1, 2, 2]], 9, 2).is_err());
    }
}
