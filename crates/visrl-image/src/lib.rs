//! From images to what a vision tower reads: decoding, resizing, normalizing, cutting into patches.
//!
//! Every step is Pillow's and transformers', byte for byte, JPEG decoding included. Which steps are
//! made is a setting that a run can record: the paper's training resizes twice
//! ([`ImagePipeline::Paper`]), its evaluation three times ([`ImagePipeline::PaperEvaluation`]).
//!
//! ```
//! use visrl_core::ImageSource;
//! use visrl_image::{Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};
//!
//! let pixels = vec![128; 28 * 28];
//! let image =
//!     ImageSource::Gray { name: "grey".into(), width: 28, height: 28, pixels: pixels.into() };
//! let processor = Qwen2VlProcessor::new(Qwen2VlProcessorConfig::default())?;
//! let seen = processor.process(&image)?;
//! assert_eq!(seen.grid, [1, 28, 28]);
//! assert_eq!(seen.tokens(processor.merge_size()), 196);
//! # Ok::<(), visrl_image::Error>(())
//! ```

mod decode;
mod error;
mod multiversion;
mod pipeline;
mod processor;
mod raster;
mod resample;

pub use decode::Limits;
pub use error::Error;
pub use pipeline::{ImagePipeline, smart_resize};
pub use processor::{
    ProcessedImage, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, image_tokens,
};
pub use raster::{AlphaMode, Mode, Raster};
pub use resample::Resample;
