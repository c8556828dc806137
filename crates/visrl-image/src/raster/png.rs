//! A PNG file of an image.

use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};

use super::alpha::AlphaMode;
use super::mode::Mode;
use super::pixels::Raster;
use crate::error::Error;

impl Raster {
    /// The image as a PNG file, without loss: in grey for [`Mode::L`] and in RGB, as
    /// [`to_rgb`](Self::to_rgb) makes it with transparency dropped, for all others.
    ///
    /// # Errors
    /// [`Error::Input`] for a side beyond what PNG files can have.
    pub fn to_png(&self) -> Result<Vec<u8>, Error> {
        let (image, color) = match self.mode {
            Mode::L => (self.clone(), ExtendedColorType::L8),
            _ => (self.to_rgb(AlphaMode::Drop), ExtendedColorType::Rgb8),
        };
        let mut png = Vec::new();
        let side = |side: usize| u32::try_from(side).unwrap_or(u32::MAX);
        let (width, height) = (side(image.width), side(image.height));
        PngEncoder::new(&mut png)
            .write_image(&image.data, width, height, color)
            .map_err(|error| Error::Input(format!("{self:?} cannot be a PNG file: {error}")))?;
        Ok(png)
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;
    use crate::decode::Limits;

    #[test]
    fn what_is_written_is_read() {
        for (mode, bytes) in [(Mode::L, 1), (Mode::Rgb, 3)] {
            let data = (0..5 * 7 * bytes).map(|i| (i * 37 % 251) as u8).collect();
            let raster = Raster::new(5, 7, mode, data).unwrap();
            let source = ImageSource::Encoded {
                name: "again".into(),
                bytes: raster.to_png().unwrap().into(),
            };
            assert_eq!(Raster::open(&source, &Limits::default()).unwrap(), raster);
        }
    }
}
