//! PNG files, in the modes in which Pillow holds them.

use std::io::Cursor;

use image::ColorType;
use image::codecs::png::PngDecoder;

use super::limits::Limits;
use super::pixels::{raster_of, read_pixels};
use crate::error::Error;
use crate::raster::{Mode, Raster};

pub(super) fn decode(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    // Signature, then the header chunk: length, "IHDR", width, height, bit depth, colour type.
    let header = bytes.get(..26).filter(|header| header[12..16] == *b"IHDR");
    let header =
        header.ok_or_else(|| Error::image(name, "is cut before the end of the PNG header"))?;
    let side = |at: usize| {
        header[at..at + 4]
            .iter()
            .fold(0, |sum, &b| sum << 8 | u64::from(b))
    };
    limits.check_pixels(name, side(16), side(20))?;
    let (depth, color) = (header[24], header[25]);
    check_palette(name, bytes)?;

    let mut budget = image::Limits::no_limits();
    budget.max_alloc = Some(limits.max_pixels.saturating_mul(8).saturating_add(1 << 24));
    let decoder = PngDecoder::with_limits(Cursor::new(bytes), budget)
        .map_err(|e| Error::image(name, e.to_string()))?;
    let (width, height, decoded, data) = read_pixels(name, decoder, limits)?;

    // The decoder expands palettes, small bit depths and transparent colours. What the file holds
    // is known from the header: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha.
    let (channels, data) = match decoded {
        ColorType::L16 if color == 0 => {
            let words = data.as_chunks().0.iter();
            let words = words
                .flat_map(|&b| u16::from_ne_bytes(b).to_le_bytes())
                .collect();
            return raster_of(name, width, height, Mode::I16, words);
        }
        ColorType::La16 if color == 0 => {
            let pixels = data.as_chunks::<4>().0.iter();
            let words = pixels
                .flat_map(|&[a, b, ..]| u16::from_ne_bytes([a, b]).to_le_bytes())
                .collect();
            return raster_of(name, width, height, Mode::I16, words);
        }
        ColorType::L8 => (1, data),
        ColorType::La8 => (2, data),
        ColorType::Rgb8 => (3, data),
        ColorType::Rgba8 => (4, data),
        ColorType::La16 => (2, high_bytes(&data)),
        ColorType::Rgb16 => (3, high_bytes(&data)),
        ColorType::Rgba16 => (4, high_bytes(&data)),
        other => {
            return Err(Error::image(
                name,
                format!("has pixels of an unknown kind, {other:?}"),
            ));
        }
    };
    let mut transparent = None;
    let (mode, data) = match (color, channels) {
        // A transparent colour in a mode without alpha.
        (0, 2) => {
            let pixels = data.as_chunks::<2>().0;
            transparent = pixels
                .iter()
                .find(|pixel| pixel[1] == 0)
                .map(|pixel| [pixel[0]; 3]);
            (Mode::L, pixels.iter().map(|pixel| pixel[0]).collect())
        }
        (2, 4) => {
            let pixels = data.as_chunks::<4>().0;
            transparent = pixels
                .iter()
                .find(|pixel| pixel[3] == 0)
                .map(|&[r, g, b, _]| [r, g, b]);
            (
                Mode::Rgb,
                pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
            )
        }
        // Pillow has no 16-bit grey with alpha.
        (4, 2) if depth == 16 => {
            let pixels = data.as_chunks::<2>().0.iter();
            (
                Mode::Rgba,
                pixels.flat_map(|&[l, a]| [l, l, l, a]).collect(),
            )
        }
        (_, 1) => (Mode::L, data),
        (_, 2) => (Mode::La, data),
        (_, 3) => (Mode::Rgb, data),
        _ => (Mode::Rgba, data),
    };
    let mut raster = raster_of(name, width, height, mode, data)?;
    raster.picked = color == 3 || (color == 0 && depth == 1);
    raster.transparent = transparent;
    Ok(raster)
}

/// Refuses a palette that is no list of colours, which the decoder takes for granted.
fn check_palette(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut rest = &bytes[8..];
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *head;
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        if kind == *b"PLTE" && (len == 0 || len > 3 * 256 || !len.is_multiple_of(3)) {
            return Err(Error::image(name, format!("has a palette of {len} bytes")));
        }
        // The content and its check value.
        rest = tail.get(len.saturating_add(4)..).unwrap_or_default();
    }
    Ok(())
}

fn high_bytes(data: &[u8]) -> Vec<u8> {
    data.as_chunks()
        .0
        .iter()
        .map(|&b| (u16::from_ne_bytes(b) >> 8) as u8)
        .collect()
}
