//! Vision-language models on burn: everything between a folder on disk and a model's output.
//!
//! * [`VisionLanguageModel`] is the contract that sampling and training rely on; [`QwenVl`]
//!   (Qwen2-VL and Qwen2.5-VL) implements it. Its one [`forward`](VisionLanguageModel::forward) serves prompts, single decode
//!   steps and whole completions, over [`Segment`]s whose rows share a prefix in the [`KvCache`].
//! * [`Pretrained`] loads a checkpoint in Hugging Face layout with all that stands beside the
//!   weights, and [`CheckpointFiles::save`] writes one, whole or not at all.
//! * [`PromptEncoder`] turns a [`Prompt`](visrl_core::Prompt) into a [`ModelInput`]:
//!   `visrl-image` prepares images, [`chat`] renders the template, [`tokenizer`] makes ids.
//! * [`attach_lora`] and its kin put low-rank adapters on a model and read and write PEFT's files;
//!   [`Trainable`] freezes by part.
//! * [`prefill`] encodes image and prompt once for all completions of a group.
//!
//! Nothing in a file can panic: checkpoints, configurations and images from outside give an
//! [`Error`] that names the file and the field.
//!
//! ```no_run
//! use std::sync::Arc;
//! use burn::tensor::Device;
//! use visrl_core::{ImageSource, Prompt};
//! use visrl_vlm::{Pretrained, QwenVl, SharedPrompt, prefill};
//!
//! # #[cfg(any())] // `Device::flex` exists where burn's feature `flex` is on.
//! let device = Device::flex();
//! # let device: Device = todo!();
//! let base = Pretrained::<QwenVl>::load("Qwen2-VL-2B-Instruct", &device)?;
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
mod dense;
mod error;
mod features;
mod lora;
mod model;
mod naming;
mod prefill;
mod pretrained;
pub mod qwen_vl;
mod rope;
mod save;
pub mod tokenizer;
mod trainable;
mod weights;

pub use attention::attend;
pub use cache::KvCache;
pub use chat::ChatTemplate;
pub use config::read_json;
pub use dense::{Adapter, Dense};
pub use error::Error;
pub use features::FeatureStore;
pub use lora::{
    LoraConfig, TargetModules, attach_lora, load_lora, merge_lora, save_lora, without_lora,
};
pub use model::{ModelInfo, Output, Positions, Segment, TokenBatch, VisionLanguageModel};
pub use naming::{NamedParameter, ParameterPath, visit_parameters};
pub use prefill::{ModelInput, PromptLayout, SharedPrompt, prefill};
pub use pretrained::{CheckpointFiles, LoadOptions, Pretrained, PromptEncoder};
pub use qwen_vl::{QwenVl, QwenVlConfig};
pub use save::{SaveDtype, SaveOptions, TensorToSave, save_weights, write_tensors};
pub use tokenizer::Tokenizer;
pub use trainable::{Part, Trainable, trains_vision};
pub use visrl_image::{ProcessedImage, Processor};
pub use visrl_kernels::Heads;
pub use weights::{ParamDtype, RandomWeights, SafetensorsDir, WeightSource};
