//! Pictures as the model sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use visrl_core::ImageSource;
use visrl_vlm::Processor;

use crate::error::Error;

/// A picture as it is sent.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// As a `data:` address.
    pub(super) url: String,
    /// Its pixels.
    pub(super) pixels: usize,
}

impl Picture {
    /// A picture, resized as the processor does it and encoded without loss: a server that is told its
    /// size finds nothing to resize in it.
    pub(super) fn new(processor: &dyn Processor, image: &ImageSource) -> Result<Self, Error> {
        let seen = processor.preview(image).map_err(visrl_vlm::Error::from)?;
        let png = seen.to_png().map_err(visrl_vlm::Error::from)?;
        Ok(Self {
            url: format!("data:image/png;base64,{}", STANDARD.encode(png)),
            pixels: seen.width() * seen.height(),
        })
    }
}
