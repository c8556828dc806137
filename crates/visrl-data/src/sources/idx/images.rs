use serde::{Deserialize, Serialize};

use crate::error::Error;

/// What an IDX file may hold at most; a header that promises more is refused before anything is
/// read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IdxLimits {
    /// The most images or labels.
    pub items: u64,
    /// The most pixels along one side of an image.
    pub side: u64,
    /// The most bytes of all pixels together.
    pub bytes: u64,
}

impl Default for IdxLimits {
    fn default() -> Self {
        Self {
            items: 10_000_000,
            side: 16_384,
            bytes: 4 << 30,
        }
    }
}

/// Grey images of one size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdxImages {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

impl IdxImages {
    /// Images of `width * height` bytes each, row major, one after another.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when a side is 0 or `pixels` is not a whole number of images.
    pub fn new(width: u32, height: u32, pixels: Vec<u8>) -> Result<Self, Error> {
        let size = width as usize * height as usize;
        if size == 0 || !pixels.len().is_multiple_of(size) {
            let message = format!("{} bytes are no images of {width} x {height}", pixels.len());
            return Err(Error::Config {
                field: "pixels",
                message,
            });
        }
        Ok(Self {
            width,
            height,
            pixels,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.size()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// The images one by one, `[height * width]` bytes each.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.size())
    }

    /// All pixels, `[count, height, width]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// The images of these rows, in the order given.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there is no such row.
    pub fn select(&self, rows: &[usize]) -> Result<Self, Error> {
        let size = self.size();
        let mut pixels = Vec::with_capacity(rows.len() * size);
        for &row in rows {
            let image = self.iter().nth(row).ok_or_else(|| Error::Config {
                field: "rows",
                message: format!("row {row} of {} images", self.len()),
            })?;
            pixels.extend_from_slice(image);
        }
        Ok(Self { pixels, ..*self })
    }

    fn size(&self) -> usize {
        self.width as usize * self.height as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_taken_by_row() {
        let images = IdxImages::new(3, 2, (1..=12).collect()).unwrap();
        assert_eq!(images.iter().nth(1).unwrap(), [7, 8, 9, 10, 11, 12]);
        let twice = images.select(&[1, 1]).unwrap();
        assert_eq!(twice.pixels()[6..], [7, 8, 9, 10, 11, 12]);
        assert!(images.select(&[2]).is_err());
        assert!(IdxImages::new(3, 2, vec![0; 11]).is_err());
        assert!(IdxImages::new(0, 2, vec![]).is_err());
    }
}
