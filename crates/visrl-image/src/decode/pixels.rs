//! What the decoders of the `image` crate give.

use image::{ColorType, ImageDecoder};

use super::limits::Limits;
use crate::error::Error;
use crate::raster::{Mode, Raster};

/// Width, height, kind of pixels and their bytes.
pub(super) type Pixels = (usize, usize, ColorType, Vec<u8>);

/// Decodes all pixels, if the limits allow as many.
pub(super) fn read_pixels(
    name: &str,
    decoder: impl ImageDecoder,
    limits: &Limits,
) -> Result<Pixels, Error> {
    let (width, height) = decoder.dimensions();
    limits.check_pixels(name, u64::from(width), u64::from(height))?;
    let color = decoder.color_type();
    let bytes = usize::try_from(decoder.total_bytes())
        .map_err(|_| Error::image(name, "does not fit in memory"))?;
    let mut data = vec![0; bytes];
    decoder
        .read_image(&mut data)
        .map_err(|e| Error::image(name, e.to_string()))?;
    Ok((width as usize, height as usize, color, data))
}

/// A raster of an image's own size.
pub(super) fn raster_of(
    name: &str,
    width: usize,
    height: usize,
    mode: Mode,
    data: Vec<u8>,
) -> Result<Raster, Error> {
    Raster::new(width, height, mode, data).ok_or_else(|| {
        Error::image(
            name,
            format!("{width}x{height} does not match its pixel data"),
        )
    })
}
