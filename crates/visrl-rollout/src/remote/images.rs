//! Pictures as the model sees them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use visrl_core::ImageSource;
use visrl_vlm::Processor;

use crate::error::Error;

/// A picture, resized as the processor does it and encoded without loss, as a `data:` address: a server
/// with the checkpoint's own processor finds nothing to resize in it.
pub(super) fn data_url(processor: &dyn Processor, image: &ImageSource) -> Result<String, Error> {
    let seen = processor.preview(image).map_err(visrl_vlm::Error::from)?;
    let png = seen.to_png().map_err(visrl_vlm::Error::from)?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}
