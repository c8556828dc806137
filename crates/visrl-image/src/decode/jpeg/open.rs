//! From a JPEG file to a [`Raster`].

use std::io::Cursor;

use image::ColorType;
use image::codecs::jpeg::JpegDecoder;

use super::decoder::{self, Decoded, Failure};
use crate::decode::limits::Limits;
use crate::decode::pixels::{raster_of, read_pixels};
use crate::error::Error;
use crate::raster::{Mode, Raster};

/// Decodes a JPEG file to grey or RGB.
pub(in crate::decode) fn decode(
    name: &str,
    bytes: &[u8],
    limits: &Limits,
) -> Result<Raster, Error> {
    let accept = |width, height| limits.check_pixels(name, width as u64, height as u64);
    match decoder::decode(bytes, accept) {
        Ok(Decoded {
            width,
            height,
            channels,
            data,
        }) => {
            let mode = if channels == 1 { Mode::L } else { Mode::Rgb };
            raster_of(name, width, height, mode, data)
        }
        Err(Failure::Damaged(message)) => Err(Error::image(name, message)),
        Err(Failure::Refused(error)) => Err(error),
        Err(Failure::Unsupported) => decode_rare_jpeg(name, bytes, limits),
    }
}

/// Decodes the kinds of JPEG that are rare in data sets, CMYK above all, of which it is known that
/// they are whole. Of the others a file without an end is refused.
fn decode_rare_jpeg(name: &str, bytes: &[u8], limits: &Limits) -> Result<Raster, Error> {
    // The decoder fills what is missing with grey, which must not go unnoticed.
    if !bytes.array_windows().any(|pair| *pair == [0xff, 0xd9]) {
        return Err(Error::image(
            name,
            "is cut: the JPEG data has no end marker",
        ));
    }
    let decoder =
        JpegDecoder::new(Cursor::new(bytes)).map_err(|e| Error::image(name, e.to_string()))?;
    let (width, height, color, data) = read_pixels(name, decoder, limits)?;
    let mode = match color {
        ColorType::L8 => Mode::L,
        ColorType::La8 => Mode::La,
        ColorType::Rgb8 => Mode::Rgb,
        ColorType::Rgba8 => Mode::Rgba,
        other => {
            return Err(Error::image(
                name,
                format!("has pixels of an unknown kind, {other:?}"),
            ));
        }
    };
    raster_of(name, width, height, mode, data)
}
