//! Decoded images and the conversions between their modes, with Pillow's arithmetic.

use serde::{Deserialize, Serialize};

use super::resample::{self, Resample};

/// What happens to an image's transparency.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlphaMode {
    /// The alpha channel is dropped and the hidden colours show: transformers 4 and the paper.
    #[default]
    Drop,
    /// The image is put on white: transformers 5.
    White,
}

/// How the pixels of a [`Raster`] are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 8-bit grey.
    L,
    /// 8-bit grey and alpha.
    La,
    /// 8-bit red, green, blue.
    Rgb,
    /// 8-bit red, green, blue, alpha.
    Rgba,
    /// 16-bit grey, little endian.
    I16,
}

impl Mode {
    /// Bytes per pixel.
    pub fn bytes(self) -> usize {
        match self {
            Self::L => 1,
            Self::La | Self::I16 => 2,
            Self::Rgb => 3,
            Self::Rgba => 4,
        }
    }
}

/// A decoded image in the mode its file has.
///
/// Images with a palette are held with their colours looked up, and marked: like bilevel images
/// they are resized by picking pixels, whatever the filter, as Pillow does without a word.
#[derive(Clone, PartialEq, Eq)]
pub struct Raster {
    width: usize,
    height: usize,
    mode: Mode,
    /// Palette and bilevel images: pixels are picked, never mixed.
    pub(super) picked: bool,
    /// The colour that stands for transparency in a mode without alpha.
    pub(super) transparent: Option<[u8; 3]>,
    data: Vec<u8>,
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

    /// Converts to [`Mode::Rgb`]: grey is repeated, 16-bit grey is clipped (not scaled) to 255, and
    /// transparency is treated as asked.
    #[must_use]
    pub fn to_rgb(&self, alpha: AlphaMode) -> Self {
        let opaque = self.clone().into_opaque(alpha);
        if opaque.mode == Mode::Rgb {
            return opaque;
        }
        let data = opaque.data.iter().flat_map(|&l| [l; 3]).collect();
        Self {
            mode: Mode::Rgb,
            data,
            ..opaque
        }
    }

    /// What Qwen's image loader makes of an image: RGBA is pasted on white, other kinds of alpha are
    /// dropped. Images without colour end in [`Mode::L`].
    pub(super) fn into_pasted(mut self) -> Self {
        if self.mode == Mode::Rgba && !self.picked {
            for [r, g, b, a] in self.data.as_chunks_mut::<4>().0 {
                for color in [r, g, b] {
                    *color =
                        div_255(u32::from(*color) * u32::from(*a) + 255 * (255 - u32::from(*a)));
                }
            }
        }
        self.into_opaque(AlphaMode::Drop)
    }

    /// Like [`to_rgb`](Self::to_rgb), but images without colour end in [`Mode::L`].
    pub(super) fn into_opaque(self, alpha: AlphaMode) -> Self {
        let on_white = alpha == AlphaMode::White;
        let key = self.transparent.filter(|_| on_white);
        let Self {
            width,
            height,
            mode,
            mut data,
            ..
        } = self;
        let (mode, data) = match mode {
            Mode::L => {
                whiten::<1>(&mut data, key);
                (Mode::L, data)
            }
            Mode::Rgb => {
                whiten::<3>(&mut data, key);
                (Mode::Rgb, data)
            }
            Mode::La => {
                let pixels = data.as_chunks::<2>().0.iter();
                let over = |&[l, a]: &[u8; 2]| if on_white { over_white(l, a) } else { l };
                (Mode::L, pixels.map(over).collect())
            }
            Mode::Rgba => {
                let pixels = data.as_chunks::<4>().0.iter();
                let over = |&[r, g, b, a]: &[u8; 4]| {
                    if on_white {
                        [r, g, b].map(|c| over_white(c, a))
                    } else {
                        [r, g, b]
                    }
                };
                (Mode::Rgb, pixels.flat_map(over).collect())
            }
            Mode::I16 => {
                let words = data.as_chunks::<2>().0.iter();
                let clip = |&[low, high]: &[u8; 2]| if high == 0 { low } else { 255 };
                (Mode::L, words.map(clip).collect())
            }
        };
        Self {
            width,
            height,
            mode,
            picked: false,
            transparent: None,
            data,
        }
    }
}

/// Turns the transparent colour, if there is one, to white.
fn whiten<const C: usize>(data: &mut [u8], transparent: Option<[u8; 3]>) {
    let Some(key) = transparent else { return };
    for color in data.as_chunks_mut::<C>().0 {
        if *color == key[..C] {
            *color = [255; C];
        }
    }
}

/// A product of two bytes, or a sum of such, divided by 255 and rounded.
fn div_255(product: u32) -> u8 {
    let product = product + 128;
    (((product >> 8) + product) >> 8) as u8
}

/// Runs `resize` on colours weighted by the last channel and takes the weights out again.
fn with_premultiplied<const C: usize>(
    data: &[u8],
    resize: impl FnOnce(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut weighted = data.to_vec();
    for pixel in weighted.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        for color in &mut pixel[..C - 1] {
            *color = div_255(u32::from(*color) * u32::from(alpha));
        }
    }
    let mut out = resize(&weighted);
    for pixel in out.as_chunks_mut::<C>().0 {
        let alpha = pixel[C - 1];
        if alpha != 0 && alpha != 255 {
            for color in &mut pixel[..C - 1] {
                *color = (255 * u32::from(*color) / u32::from(alpha)).min(255) as u8;
            }
        }
    }
    out
}

/// A colour with this alpha on white, with the 7 extra bits that Pillow's compositing keeps.
fn over_white(color: u8, alpha: u8) -> u8 {
    const BITS: u32 = 7;
    let own = u32::from(alpha) << BITS;
    let sum = u32::from(color) * own + 255 * ((255 << BITS) - own) + (0x80 << BITS);
    ((((sum >> 8) + sum) >> 8) >> BITS) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raster(width: usize, height: usize, mode: Mode, data: &[u8]) -> Raster {
        Raster::new(width, height, mode, data.to_vec()).unwrap()
    }

    #[test]
    fn a_raster_has_as_many_bytes_as_it_says() {
        assert!(Raster::new(2, 2, Mode::Rgb, vec![0; 12]).is_some());
        assert!(Raster::new(2, 2, Mode::Rgb, vec![0; 11]).is_none());
        assert!(Raster::new(0, 2, Mode::L, Vec::new()).is_none());
        assert!(Raster::new(usize::MAX, 3, Mode::L, Vec::new()).is_none());
    }

    #[test]
    fn alpha_is_dropped_or_put_on_white() {
        let image = raster(3, 1, Mode::La, &[10, 0, 10, 255, 0, 128]);
        assert_eq!(
            image.to_rgb(AlphaMode::Drop).data(),
            [10, 10, 10, 10, 10, 10, 0, 0, 0]
        );
        assert_eq!(
            image.to_rgb(AlphaMode::White).data(),
            [255, 255, 255, 10, 10, 10, 127, 127, 127]
        );
    }

    #[test]
    fn a_transparent_colour_turns_white_only_on_white() {
        let mut image = raster(2, 1, Mode::Rgb, &[1, 2, 3, 1, 2, 4]);
        image.transparent = Some([1, 2, 3]);
        assert_eq!(
            image.to_rgb(AlphaMode::White).data(),
            [255, 255, 255, 1, 2, 4]
        );
        assert_eq!(image.to_rgb(AlphaMode::Drop).data(), image.data());
    }

    #[test]
    fn sixteen_bits_are_clipped() {
        let image = raster(2, 1, Mode::I16, &[200, 0, 7, 1]);
        assert_eq!(
            image.to_rgb(AlphaMode::Drop).data(),
            [200, 200, 200, 255, 255, 255]
        );
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
