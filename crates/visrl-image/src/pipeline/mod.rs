//! The sizes an image goes through before it is cut into patches.

mod image_pipeline;
mod smart_resize;

pub use image_pipeline::ImagePipeline;
pub use smart_resize::smart_resize;
