//! A decoded image.

use super::mode::Mode;

/// A decoded image in the mode its file has.
///
/// Images with a palette are held with their colours looked up, and marked: like bilevel images
/// they are resized by picking pixels, whatever the filter, as Pillow does without a word.
#[derive(Clone, PartialEq, Eq)]
pub struct Raster {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) mode: Mode,
    /// Palette and bilevel images: pixels are picked, never mixed.
    pub(crate) picked: bool,
    /// The colour that stands for transparency in a mode without alpha.
    pub(crate) transparent: Option<[u8; 3]>,
    pub(super) data: Vec<u8>,
}

impl std::fmt::Debug for Raster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Raster({}x{} {:?})", self.width, self.height, self.mode)
    }
}

impl Raster {
    /// An image of interleaved bytes, row by row; `None` when a side is 0 or the number of bytes is
    /// not `width * height * mode.bytes()`.
    pub fn new(width: usize, height: usize, mode: Mode, data: Vec<u8>) -> Option<Self> {
        let bytes = width.checked_mul(height)?.checked_mul(mode.bytes())?;
        let fits = bytes > 0 && bytes == data.len();
        fits.then_some(Self {
            width,
            height,
            mode,
            picked: false,
            transparent: None,
            data,
        })
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// How the pixels are stored.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The interleaved bytes, row by row.
    pub fn data(&self) -> &[u8] {
        &self.data
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raster_has_as_many_bytes_as_it_says() {
        assert!(Raster::new(2, 2, Mode::Rgb, vec![0; 12]).is_some());
        assert!(Raster::new(2, 2, Mode::Rgb, vec![0; 11]).is_none());
        assert!(Raster::new(0, 2, Mode::L, Vec::new()).is_none());
        assert!(Raster::new(usize::MAX, 3, Mode::L, Vec::new()).is_none());
    }
}
