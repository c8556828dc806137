//! What an image may cost.

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::raster::Raster;
use crate::resample::Resample;

/// What an image may cost; checked before it is read and before it is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    pub(crate) fn check_pixels(&self, name: &str, width: u64, height: u64) -> Result<(), Error> {
        let pixels = width.saturating_mul(height);
        if pixels > self.max_pixels {
            let message = format!(
                "{width}x{height} is {pixels} pixels, more than the limit of {}; raise \
                 `limits.max_pixels` of the model's load options or shrink the image",
                self.max_pixels
            );
            return Err(Error::image(name, message));
        }
        Ok(())
    }

    pub(super) fn check_bytes(&self, name: &str, bytes: u64) -> Result<(), Error> {
        if bytes > self.max_bytes {
            let message = format!(
                "the file has {bytes} bytes, more than the limit of {}; raise `limits.max_bytes` of \
                 the model's load options",
                self.max_bytes
            );
            return Err(Error::image(name, message));
        }
        Ok(())
    }

    /// Resizes to height and width, if the limits allow as many pixels.
    pub(crate) fn resize(
        &self,
        name: &str,
        raster: &Raster,
        (height, width): (usize, usize),
        filter: Resample,
    ) -> Result<Raster, Error> {
        self.check_pixels(name, width as u64, height as u64)?;
        Ok(raster.resize(width, height, filter))
    }
}
