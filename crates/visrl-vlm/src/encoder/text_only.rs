//! The processor of a model without images.

use std::path::Path;

use serde_json::Value;
use visrl_core::ImageSource;
use visrl_image::{Error, ProcessedImage, Processor};

/// Refuses every image.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextOnly;

impl Processor for TextOnly {
    fn process(&self, image: &ImageSource) -> Result<ProcessedImage, Error> {
        Err(Error::Image {
            name: image.name(),
            message: "the model reads no images".into(),
        })
    }

    fn merge_size(&self) -> usize {
        1
    }

    fn settings(&self) -> Value {
        Value::Null
    }

    fn save(&self, _: &Path) -> Result<(), Error> {
        Ok(())
    }
}
