//! Vision-language models on burn.
#![deny(unsafe_code)]

mod attention;
mod build;
mod cache;
mod config;
mod error;
mod features;
mod model;
mod naming;
mod prefill;
mod pretrained;
pub use pretrained::*;
pub mod qwen2_vl;
mod rope;
mod save;
mod weights;

pub use cache::KvCache;
pub use config::read_json;
pub use error::Error;
pub use features::FeatureStore;
pub use prefill::{ModelInput, SharedPrompt, prefill};
pub use model::{
    ModelInfo, Output, Positions, Segment, TokenBatch, VisionLanguageModel,
};
pub use naming::{NamedParameter, ParameterPath, visit_parameters};
pub use qwen2_vl::{Qwen2Vl, Qwen2VlConfig};
pub use save::{SaveDtype, save_weights, write_dir_atomically, write_file_atomically};
pub use weights::{RandomWeights, SafetensorsDir, WeightSource};

/// t
#[derive(Debug, Clone)]
pub struct ProcessedImage {
    /// v
    pub pixel_values: Vec<f32>,
    /// g
    pub grid: [usize; 3],
}
impl ProcessedImage {
    /// n
    pub fn new(pixel_values: Vec<f32>, grid: [usize; 3]) -> Self { Self { pixel_values, grid } }
}
