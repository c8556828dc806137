//! From a file or bytes to a [`Raster`] in the file's own mode.

use std::fs::File;
use std::io::{Cursor, Read};
use std::path::Path;
use std::sync::Arc;

use image::codecs::{jpeg::JpegDecoder, png::PngDecoder};
use image::{ColorType, ImageDecoder};
use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use super::jpeg;
use super::raster::{Mode, Raster};
use crate::Error;

/// What an image may cost; checked before it is read and before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The most pixels of an image, as stored and after each resize.
    pub max_pixels: u64,
    /// The most bytes of an encoded image.
    pub max_bytes: u64,
}

impl Default for Limits {
    /// 89,478,485 pixels (where Pillow begins to warn of a decompression bomb) and 256 MiB.
    fn default() -> Self {
        Self {
            max_pixels: 89_478_485,
            max_bytes: 256 << 20,
        }
    }
}

impl Limits {
    pub(super) fn check_pixels(&self, name: &str, width: u64, height: u64) -> Result<(), Error> {
        let pixels = width.saturating_mul(height);
        if pixels > self.max_pixels {
            let message = format!(
                "{width}x{height} is {pixels} pixels, more than the limit of {}; raise \
                 `max_pixels` of the processor's limits or shrink the image",
                self.max_pixels
            );
            return Err(error(name, message));
        }
        Ok(())
    }

    fn check_bytes(&self, name: &str, bytes: u64) -> Result<(), Error> {
        if bytes > self.max_bytes {
            let message = format!(
                "the file has {bytes} bytes, more than the limit of {}; raise `max_bytes` of the \
                 processor's limits",
                self.max_bytes
            );
            return Err(error(name, message));
        }
        Ok(())
    }
}

fn error(name: &str, message: impl Into<String>) -> Error {
    Error::Image {
        name: name.to_owned(),
        message: message.into(),
    }
}

impl Raster {
    /// Reads and decodes an image; equal to Pillow's in every byte. PNG keeps the mode of the file.
    /// JPEG gives grey or RGB (CMYK, which Pillow keeps, is converted when it is decoded). EXIF
    /// orientation is ignored, as Pillow does.
    ///
    /// # Errors
    /// [`Error::Image`] with the image's name: it cannot be read, is beyond the limits, is neither
    /// PNG nor JPEG, is damaged or cut, or has another number of pixels than it says.
    pub fn open(source: &ImageSource, limits: &Limits) -> Result<Self, Error> {
        let raw = |name: &str, width: u32, height: u32, mode: Mode, pixels: &Arc<[u8]>| {
            limits.check_pixels(name, u64::from(width), u64::from(height))?;
            Self::new(width as usize, height as usize, mode, pixels.to_vec()).ok_or_else(|| {
                let message = format!(
                    "{width}x{height} pixels in {} bytes: expected sides of at least 1 and {} \
                     bytes per pixel",
                    pixels.len(),
                    mode.bytes()
                );
                error(name, message)
            })
        };
        match source {
            ImageSource::Path(path) => {
                let name = source.name();
                decode(&name, &read(&name, path, limits)?, limits)
            }
            ImageSource::Encoded { name, bytes } => {
                limits.check_bytes(name, bytes.len() as u64)?;
                decode(name, bytes, limits)
            }
            ImageSource::Gray {
                name,
                width,
                height,
                pixels,
            } => raw(name, *width, *height, Mode::L, pixels),
            ImageSource::Rgb {
                name,
                width,
                height,
                pixels,
            } => raw(name, *width, *height, Mode::Rgb, pixels),
        }
    }
}

fn read(name: &str, path: &Path, limits: &Limits) -> Result<Vec<u8>, Error> {
    let failed = |source: std::io::Error| error(name, format!("cannot be read: {source}"));
    let file = File::open(path).map_err(failed)?;
    limits.check_bytes(name, file.metadata().map_err(failed)?.len())?;
    let mut bytes = Vec::new();
    // A file may grow, and a pipe has no length: the limit holds for what is read, too.
    file.take(limits.max_bytes.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    limits.check_bytes(name, bytes.len() as u64)?;
    Ok(bytes)
}

fn decode(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        decode_png(name, bytes, limits)
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        decode_jpeg(name, bytes, limits)
    } else {
        Err(error(
            name,
            "is neither a PNG nor a JPEG file; convert it to one of these",
        ))
    }
}

fn decode_png(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    // Signature, then the header chunk: length, "IHDR", width, height, bit depth, colour type.
    let header = bytes.get(..26).filter(|header| header[12..16] == *b"IHDR");
    let header = header.ok_or_else(|| error(name, "is cut before the end of the PNG header"))?;
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
        .map_err(|e| error(name, e.to_string()))?;
    let (width, height, decoded, data) = read_pixels(name, decoder, limits)?;

    // The decoder expands palettes, small bit depths and transparent colours. What the file holds
    // is known from the header: 0 grey, 2 RGB, 3 palette, 4 grey + alpha, 6 RGB + alpha.
    let (channels, data) = match decoded {
        ColorType::L16 if color == 0 => {
            let words = data.as_chunks().0.iter();
            let words = words
                .flat_map(|&b| u16::from_ne_bytes(b).to_le_bytes())
                .collect();
            return finish(name, width, height, Mode::I16, words);
        }
        ColorType::La16 if color == 0 => {
            let pixels = data.as_chunks::<4>().0.iter();
            let words = pixels
                .flat_map(|&[a, b, ..]| u16::from_ne_bytes([a, b]).to_le_bytes())
                .collect();
            return finish(name, width, height, Mode::I16, words);
        }
        ColorType::L8 => (1, data),
        ColorType::La8 => (2, data),
        ColorType::Rgb8 => (3, data),
        ColorType::Rgba8 => (4, data),
        ColorType::La16 => (2, high_bytes(&data)),
        ColorType::Rgb16 => (3, high_bytes(&data)),
        ColorType::Rgba16 => (4, high_bytes(&data)),
        other => {
            return Err(error(
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
    let mut raster = finish(name, width, height, mode, data)?;
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
            return Err(error(name, format!("has a palette of {len} bytes")));
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

fn decode_jpeg(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    let accept = |width, height| limits.check_pixels(name, width as u64, height as u64);
    match jpeg::decode(bytes, accept) {
        Ok(jpeg::Decoded {
            width,
            height,
            channels,
            data,
        }) => {
            let mode = if channels == 1 { Mode::L } else { Mode::Rgb };
            finish(name, width, height, mode, data)
        }
        Err(jpeg::Failure::Damaged(message)) => Err(error(name, message)),
        Err(jpeg::Failure::Refused(error)) => Err(error),
        Err(jpeg::Failure::Unsupported) => decode_rare_jpeg(name, bytes, limits),
    }
}

/// Decodes the kinds of JPEG that are rare in data sets, CMYK above all.
fn decode_rare_jpeg(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    // The decoder fills what is missing with grey, which must not go unnoticed.
    if !bytes.array_windows().any(|pair| *pair == [0xff, 0xd9]) {
        return Err(error(name, "is cut: the JPEG data has no end marker"));
    }
    let decoder = JpegDecoder::new(Cursor::new(bytes)).map_err(|e| error(name, e.to_string()))?;
    let (width, height, color, data) = read_pixels(name, decoder, limits)?;
    let mode = match color {
        ColorType::L8 => Mode::L,
        ColorType::La8 => Mode::La,
        ColorType::Rgb8 => Mode::Rgb,
        ColorType::Rgba8 => Mode::Rgba,
        other => {
            return Err(error(
                name,
                format!("has pixels of an unknown kind, {other:?}"),
            ));
        }
    };
    finish(name, width, height, mode, data)
}

type Pixels = (usize, usize, ColorType, Vec<u8>);

fn read_pixels(name: &str, decoder: impl ImageDecoder, limits: &Limits) -> Result<Pixels, Error> {
    let (width, height) = decoder.dimensions();
    limits.check_pixels(name, u64::from(width), u64::from(height))?;
    let color = decoder.color_type();
    let bytes = usize::try_from(decoder.total_bytes())
        .map_err(|_| error(name, "does not fit in memory"))?;
    let mut data = vec![0; bytes];
    decoder
        .read_image(&mut data)
        .map_err(|e| error(name, e.to_string()))?;
    Ok((width as usize, height as usize, color, data))
}

fn finish(
    name: &str,
    width: usize,
    height: usize,
    mode: Mode,
    data: Vec<u8>,
) -> Result<Raster, Error> {
    Raster::new(width, height, mode, data).ok_or_else(|| {
        error(
            name,
            format!("{width}x{height} does not match its pixel data"),
        )
    })
}

#[cfg(test)]
mod tests {
    use image::codecs::{jpeg::JpegEncoder, png::PngEncoder};
    use image::{ExtendedColorType, ImageEncoder};

    use super::*;

    fn encoded(bytes: Vec<u8>) -> ImageSource {
        ImageSource::Encoded {
            name: "x".into(),
            bytes: bytes.into(),
        }
    }

    fn png(width: u32, height: u32, color: ExtendedColorType, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        PngEncoder::new(&mut bytes)
            .write_image(data, width, height, color)
            .unwrap();
        bytes
    }

    fn jpeg() -> Vec<u8> {
        let mut bytes = Vec::new();
        let data: Vec<u8> = (0..16 * 16 * 3).map(|i| (i * 7 % 256) as u8).collect();
        JpegEncoder::new(&mut bytes)
            .encode(&data, 16, 16, ExtendedColorType::Rgb8)
            .unwrap();
        bytes
    }

    #[test]
    fn png_modes_are_kept() {
        let limits = Limits::default();
        let l16 = [7u16, 300].map(u16::to_ne_bytes).concat();
        for (color, data, mode, stored) in [
            (ExtendedColorType::L8, vec![5, 6], Mode::L, vec![5, 6]),
            (
                ExtendedColorType::La8,
                vec![5, 6, 7, 8],
                Mode::La,
                vec![5, 6, 7, 8],
            ),
            (
                ExtendedColorType::Rgb8,
                vec![1, 2, 3, 4, 5, 6],
                Mode::Rgb,
                vec![1, 2, 3, 4, 5, 6],
            ),
            (ExtendedColorType::L16, l16, Mode::I16, vec![7, 0, 44, 1]),
        ] {
            let raster = Raster::open(&encoded(png(2, 1, color, &data)), &limits).unwrap();
            assert_eq!((raster.mode(), raster.data()), (mode, stored.as_slice()));
            assert!(!raster.picked);
        }
    }

    #[test]
    fn limits_are_checked_before_decoding() {
        let mut bytes = png(4, 4, ExtendedColorType::L8, &[0; 16]);
        let small = Limits {
            max_pixels: 15,
            ..Limits::default()
        };
        let message = Raster::open(&encoded(bytes.clone()), &small)
            .unwrap_err()
            .to_string();
        assert!(message.contains("image x: 4x4 is 16 pixels"), "{message}");
        let few = Limits {
            max_bytes: 20,
            ..Limits::default()
        };
        assert!(Raster::open(&encoded(bytes.clone()), &few).is_err());
        // A header that promises 4 billion columns costs nothing.
        bytes[16..20].fill(255);
        assert!(Raster::open(&encoded(bytes), &Limits::default()).is_err());
        let message = Raster::open(&encoded(jpeg()), &small)
            .unwrap_err()
            .to_string();
        assert!(message.contains("16x16 is 256 pixels"), "{message}");
    }

    #[test]
    fn a_cut_jpeg_is_refused() {
        let whole = jpeg();
        let limits = Limits::default();
        assert!(Raster::open(&encoded(whole.clone()), &limits).is_ok());
        for len in 2..whole.len() - 1 {
            assert!(
                Raster::open(&encoded(whole[..len].to_vec()), &limits).is_err(),
                "{len}"
            );
        }
    }

    #[test]
    fn raw_pixels_must_have_the_right_length() {
        let limits = Limits::default();
        let rgb = |width, pixels: &[u8]| ImageSource::Rgb {
            name: "raw".into(),
            width,
            height: 1,
            pixels: pixels.into(),
        };
        assert!(Raster::open(&rgb(1, &[1, 2, 3]), &limits).is_ok());
        assert!(Raster::open(&rgb(2, &[1, 2, 3]), &limits).is_err());
        assert!(Raster::open(&rgb(0, &[]), &limits).is_err());
        assert!(Raster::open(&ImageSource::path("/nowhere/x.png"), &limits).is_err());
    }
}
