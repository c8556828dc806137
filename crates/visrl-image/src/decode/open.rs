//! From a file, bytes or pixels in memory to a [`Raster`] in the file's own mode.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use visrl_core::ImageSource;

use super::limits::Limits;
#[cfg(feature = "formats")]
use super::others;
use super::{jpeg, png};
use crate::error::Error;
use crate::raster::{Mode, Raster};

impl Raster {
    /// Reads and decodes an image; equal to Pillow's in every byte. PNG keeps the mode of the file.
    /// JPEG gives grey or RGB (CMYK, which Pillow keeps, is converted when it is decoded). EXIF
    /// orientation is ignored, as Pillow does.
    ///
    /// # Errors
    /// [`Error::Image`] with the image's name: it cannot be read, is beyond the limits, is neither
    /// PNG nor JPEG (nor, with the feature `formats`, WebP, BMP, TIFF or GIF), is damaged or cut, or has another number of pixels than it says.
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
                Error::image(name, message)
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
    let failed = |source: std::io::Error| Error::image(name, format!("cannot be read: {source}"));
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
        png::decode(name, bytes, limits)
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        jpeg::decode(name, bytes, limits)
    } else {
        decode_others(name, bytes, limits)
    }
}

#[cfg(feature = "formats")]
fn decode_others(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    match others::Format::of(bytes) {
        Some(format) => others::decode(name, bytes, format, limits),
        None => Err(Error::image(
            name,
            "is no PNG, JPEG, WebP, BMP, TIFF or GIF file; convert it to one of these",
        )),
    }
}

#[cfg(not(feature = "formats"))]
fn decode_others(name: &str, _: &[u8], _: &Limits) -> Result<Raster, Error> {
    Err(Error::image(
        name,
        "is neither a PNG nor a JPEG file; convert it to one of these, or build with the feature \
         `formats` for WebP, BMP, TIFF and GIF",
    ))
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
