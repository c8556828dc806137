//! Where parameters come from: safetensors files, read by memory map one tensor at a time, or a
//! seeded random draw.

mod convert;
mod mapped;
pub(crate) mod random_weights;
pub(crate) mod safetensors_dir;
pub(crate) mod weight_files;
pub(crate) mod weight_source;
