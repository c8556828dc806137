//! What becomes of transparency, and the way to RGB.

use serde::{Deserialize, Serialize};

use super::mode::Mode;
use super::pixels::Raster;
use crate::resample::div_255;

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

impl Raster {
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
    pub(crate) fn into_pasted(mut self) -> Self {
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
    pub(crate) fn into_opaque(self, alpha: AlphaMode) -> Self {
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
}
