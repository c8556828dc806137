//! Vision-language models on burn: everything between a folder on disk and a model's output.
//!
//! * [`VisionLanguageModel`] is the contract that sampling and training rely on; [`Qwen2Vl`]
//!   implements it. Its one [`forward`](VisionLanguageModel::forward) serves prompts, single decode
//!   steps and whole completions, over [`Segment`]s whose rows share a prefix in the [`KvCache`].
//! * [`Pretrained`] loads a checkpoint in Hugging Face layout with all that stands beside the
//!   weights, and [`CheckpointFiles::save`] writes one, whole or not at all.
//! * [`PromptEncoder`] turns a [`Prompt`](visrl_core::Prompt) into a [`ModelInput`]:
//!   [`processor`] prepares images, [`chat`] renders the template, [`tokenizer`] makes ids.
//! * [`prefill`] encodes image and prompt once for all completions of a group.
//!
//! Nothing in a file can panic: checkpoints, configurations and images from outside give an
//! [`Error`] that names the file and the field.
//!
//! ```no_run
//! use std::sync::Arc;
//! use burn::tensor::Device;
//! use visrl_core::{ImageSource, Prompt};
//! use visrl_vlm::{Pretrained, SharedPrompt, prefill};
//!
//! # #[cfg(any())] // `Device::flex` exists where burn's feature `flex` is on.
//! let device = Device::flex();
//! # let device: Device = todo!();
//! let base = Pretrained::load("Qwen2-VL-2B-Instruct", &device)?;
//! let prompt = Prompt::user("cat", ImageSource::path("cat.jpg"), "What is this?");
//! let inputs = base.encoder.encode_all(&base.model, &[Arc::new(prompt)])?;
//! let segments = prefill(&base.model, None, &[SharedPrompt { input: &inputs[0], rows: 4 }])?;
//! assert_eq!(segments[0].cache.prefix_len(), inputs[0].ids.len() - 1);
//! # Ok::<(), visrl_vlm::Error>(())
//! ```
#![deny(unsafe_code)]

mod attention;
mod build;
mod cache;
pub mod chat;
mod config;
mod error;
mod features;
pub mod kernels;
mod model;
mod naming;
mod prefill;
mod pretrained;
pub mod processor;
pub mod qwen2_vl;
mod rope;
mod save;
pub mod tokenizer;
mod weights;

pub use cache::KvCache;
pub use chat::ChatTemplate;
pub use config::read_json;
pub use error::Error;
pub use features::FeatureStore;
pub use model::{ModelInfo, Output, Positions, Segment, TokenBatch, VisionLanguageModel};
pub use naming::{NamedParameter, ParameterPath, visit_parameters};
pub use prefill::{ModelInput, SharedPrompt, prefill};
pub use pretrained::{CheckpointFiles, Pretrained, PromptEncoder};
pub use processor::{ProcessedImage, Processor};
pub use qwen2_vl::{Qwen2Vl, Qwen2VlConfig};
pub use save::{SaveDtype, save_weights, write_dir_atomically, write_file_atomically};
pub use tokenizer::Tokenizer;
pub use weights::{RandomWeights, SafetensorsDir, WeightSource};
