//! Resizing in an image's own mode.

use super::mode::Mode;
use super::pixels::Raster;
use crate::resample::{self, Resample, with_premultiplied};

impl Raster {
    /// Resizes in the image's own mode; equal to Pillow's `Image.resize` in every byte. Sides of 0
    /// count as 1.
    ///
    /// Colours are weighted by their alpha where there is one.
    #[must_use]
    pub fn resize(&self, width: usize, height: usize, filter: Resample) -> Self {
        let (from, to) = ((self.width, self.height), (width.max(1), height.max(1)));
        if from == to {
            return self.clone();
        }
        let data = &self.data;
        let data = if self.picked || filter == Resample::Nearest {
            match self.mode {
                Mode::L => resample::nearest::<1>(data, from, to, true),
                Mode::La => resample::nearest::<2>(data, from, to, true),
                Mode::I16 => resample::nearest::<2>(data, from, to, false),
                Mode::Rgb => resample::nearest::<3>(data, from, to, true),
                Mode::Rgba => resample::nearest::<4>(data, from, to, true),
            }
        } else {
            match self.mode {
                Mode::L => resample::resize_u8::<1>(data, from, to, filter),
                Mode::Rgb => resample::resize_u8::<3>(data, from, to, filter),
                Mode::La => with_premultiplied::<2>(data, |data| {
                    resample::resize_u8::<2>(data, from, to, filter)
                }),
                Mode::Rgba => with_premultiplied::<4>(data, |data| {
                    resample::resize_u8::<4>(data, from, to, filter)
                }),
                Mode::I16 => {
                    let words: Vec<u16> = data
                        .as_chunks()
                        .0
                        .iter()
                        .map(|&b| u16::from_le_bytes(b))
                        .collect();
                    let words = resample::resize_u16(&words, from, to, filter);
                    words.into_iter().flat_map(u16::to_le_bytes).collect()
                }
            }
        };
        Self {
            width: to.0,
            height: to.1,
            data,
            ..*self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(width: usize, height: usize, mode: Mode, data: &[u8]) -> Raster {
        Raster::new(width, height, mode, data.to_vec()).unwrap()
    }

    #[test]
    fn hidden_colours_do_not_bleed() {
        // A transparent red pixel beside an opaque blue one: no red in the mixture.
        let image = raster(2, 1, Mode::Rgba, &[255, 0, 0, 0, 0, 0, 255, 255]);
        let half = image.resize(1, 1, Resample::Bilinear);
        assert_eq!(half.data()[0], 0);
        assert_eq!(half.data()[2..], [255, 128]);
    }

    #[test]
    fn picked_images_keep_their_colours() {
        let mut image = raster(2, 2, Mode::L, &[0, 255, 255, 0]);
        image.picked = true;
        let big = image.resize(5, 7, Resample::Lanczos);
        assert!(big.data().iter().all(|&l| l == 0 || l == 255));
    }
}
