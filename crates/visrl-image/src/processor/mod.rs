//! From an image to rows of patches: the trait that models read images through, and Qwen2-VL's
//! processor.

mod config;
mod config_file;
mod contract;
mod identity;
mod known_settings;
mod patches;
mod processed_image;
mod qwen2_vl;

pub use config::Qwen2VlProcessorConfig;
pub use contract::Processor;
pub use processed_image::{ProcessedImage, image_tokens};
pub use qwen2_vl::Qwen2VlProcessor;
