//! WebP, BMP, TIFF and GIF (its first frame), as the `image` crate decodes them.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;
use image::codecs::gif::GifDecoder;
use image::codecs::tiff::TiffDecoder;
use image::codecs::webp::WebPDecoder;
use image::{ColorType, ImageDecoder, ImageResult};

use super::limits::Limits;
use super::pixels::{raster_of, read_pixels};
use crate::error::Error;
use crate::raster::{Mode, Raster};

/// The format of a file's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Bmp,
    Gif,
    Tiff,
    WebP,
}

impl Format {
    pub(super) fn of(bytes: &[u8]) -> Option<Self> {
        let starts = |start: &[u8]| bytes.starts_with(start);
        match () {
            () if starts(b"BM") => Some(Self::Bmp),
            () if starts(b"GIF87a") || starts(b"GIF89a") => Some(Self::Gif),
            () if starts(b"II*\0") || starts(b"MM\0*") => Some(Self::Tiff),
            () if starts(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") => Some(Self::WebP),
            () => None,
        }
    }
}

/// Decodes a file; an image that is opaque throughout has no alpha.
pub(super) fn decode(
    name: &str,
    bytes: &[u8],
    format: Format,
    limits: &Limits,
) -> Result<Raster, Error> {
    if format == Format::WebP {
        check_riff(name, bytes)?;
    }
    let bytes = Cursor::new(bytes);
    match format {
        Format::Bmp => read(name, BmpDecoder::new(bytes), limits),
        Format::Gif => read(name, GifDecoder::new(bytes), limits),
        Format::Tiff => read(name, TiffDecoder::new(bytes), limits),
        Format::WebP => read(name, WebPDecoder::new(bytes), limits),
    }
}

/// Refuses a file that is shorter than its RIFF header says: the decoder makes a picture of what is
/// there.
fn check_riff(name: &str, bytes: &[u8]) -> Result<(), Error> {
    let Some((size, _)) = bytes[4..].split_first_chunk() else {
        return Err(Error::image(name, "is cut before the end of the header"));
    };
    let size = u64::from(u32::from_le_bytes(*size)) + 8;
    if (bytes.len() as u64) < size {
        let message = format!("is cut: it has {} of {size} bytes", bytes.len());
        return Err(Error::image(name, message));
    }
    Ok(())
}

fn read<D: ImageDecoder>(
    name: &str,
    decoder: ImageResult<D>,
    limits: &Limits,
) -> Result<Raster, Error> {
    let failed = |error: image::ImageError| Error::image(name, error.to_string());
    let mut decoder = decoder.map_err(failed)?;
    let (width, height) = decoder.dimensions();
    limits.check_pixels(name, u64::from(width), u64::from(height))?;
    let mut budget = image::Limits::no_limits();
    budget.max_alloc = Some(limits.max_pixels.saturating_mul(16).saturating_add(1 << 24));
    decoder.set_limits(budget).map_err(failed)?;
    let (width, height, color, data) = read_pixels(name, decoder, limits)?;
    let (mode, data) = match color {
        ColorType::L8 => (Mode::L, data),
        ColorType::La8 => (Mode::La, data),
        ColorType::Rgb8 => (Mode::Rgb, data),
        ColorType::Rgba8 => opaque(data),
        ColorType::L16 => {
            let words = data.as_chunks().0.iter();
            let words = words.flat_map(|&word| u16::from_ne_bytes(word).to_le_bytes());
            (Mode::I16, words.collect())
        }
        other => {
            let message = format!("has pixels of the kind {other:?}; convert it to 8 bits");
            return Err(Error::image(name, message));
        }
    };
    raster_of(name, width, height, mode, data)
}

/// Without alpha where there is none to see.
fn opaque(data: Vec<u8>) -> (Mode, Vec<u8>) {
    let pixels = data.as_chunks::<4>().0;
    match pixels.iter().all(|pixel| pixel[3] == u8::MAX) {
        true => {
            let rgb = pixels.iter().flat_map(|&[r, g, b, _]| [r, g, b]);
            (Mode::Rgb, rgb.collect())
        }
        false => (Mode::Rgba, data),
    }
}

#[cfg(test)]
mod tests {
    use image::codecs::{bmp::BmpEncoder, gif::GifEncoder, tiff::TiffEncoder, webp::WebPEncoder};
    use image::{ExtendedColorType, Frame, ImageEncoder, RgbaImage};
    use visrl_core::ImageSource;

    use super::*;

    const RGB: ExtendedColorType = ExtendedColorType::Rgb8;

    /// Four pixels in each format.
    fn files() -> Vec<(Format, Vec<u8>, Vec<u8>)> {
        let rgb = [255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9];
        let (mut bmp, mut webp) = (Vec::new(), Vec::new());
        BmpEncoder::new(&mut bmp).encode(&rgb, 2, 2, RGB).unwrap();
        let encoder = WebPEncoder::new_lossless(&mut webp);
        encoder.write_image(&rgb, 2, 2, RGB).unwrap();
        let mut tiff = Cursor::new(Vec::new());
        let encoder = TiffEncoder::new(&mut tiff);
        encoder.write_image(&rgb, 2, 2, RGB).unwrap();
        let mut gif = Vec::new();
        {
            let mut encoder = GifEncoder::new(&mut gif);
            for grey in [255, 0] {
                let pixels = [255, 0, 0, 255, 0, 0, 255, 255].repeat(2);
                let mut frame = RgbaImage::from_raw(2, 2, pixels).unwrap();
                frame.get_pixel_mut(0, 0).0[1] = grey;
                encoder.encode_frame(Frame::new(frame)).unwrap();
            }
        }
        let first = [255, 255, 0, 0, 0, 255, 255, 0, 0, 0, 0, 255].to_vec();
        vec![
            (Format::Bmp, bmp, rgb.to_vec()),
            (Format::WebP, webp, rgb.to_vec()),
            (Format::Tiff, tiff.into_inner(), rgb.to_vec()),
            (Format::Gif, gif, first),
        ]
    }

    fn source(bytes: &[u8]) -> ImageSource {
        ImageSource::Encoded {
            name: "x".into(),
            bytes: bytes.into(),
        }
    }

    #[test]
    fn each_format_gives_its_pixels() {
        for (format, bytes, pixels) in files() {
            assert_eq!(Format::of(&bytes), Some(format));
            let raster = Raster::open(&source(&bytes), &Limits::default()).unwrap();
            assert_eq!(raster.mode(), Mode::Rgb, "{format:?}");
            assert_eq!(raster.data(), pixels, "{format:?}");
        }
    }

    #[test]
    fn what_is_cut_or_too_large_is_refused() {
        let small = Limits {
            max_pixels: 3,
            ..Limits::default()
        };
        for (format, bytes, _) in files() {
            let message = Raster::open(&source(&bytes), &small)
                .unwrap_err()
                .to_string();
            assert!(message.contains("2x2 is 4 pixels"), "{format:?}: {message}");
            for cut in 0..bytes.len() / 2 {
                assert!(
                    Raster::open(&source(&bytes[..cut]), &small).is_err(),
                    "{format:?} {cut}"
                );
            }
            for place in 0..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[place] ^= 0x55;
                // Any picture or an error: no panic, and no more than the limits allow.
                let _ = Raster::open(&source(&damaged), &Limits::default());
            }
        }
    }
}
