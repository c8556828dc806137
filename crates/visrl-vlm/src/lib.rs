//! Vision-language models on burn: everything between a folder on disk and a model's output.
//!
//! * `model`: [`VisionLanguageModel`] is the contract that sampling and training rely on. Its one
//!   [`forward`](VisionLanguageModel::forward) serves prompts, single decode steps and whole
//!   completions, over [`Segment`]s whose rows share a prefix in the [`KvCache`]. [`prefill`] encodes
//!   image and prompt once for all completions of a group, [`Trainable`] freezes by part, and
//!   [`map_parameters`] and its kin walk over parameters by Hugging Face's names.
//! * `encoder`: [`PromptEncoder`] turns a [`Prompt`](visrl_core::Prompt) into a [`ModelInput`]:
//!   `visrl-image` prepares images, [`chat`] renders the template, [`tokenizer`] makes ids.
//! * `checkpoint`: [`Pretrained`] loads a folder in Hugging Face layout with all that stands beside
//!   the weights, for any [`LoadModel`], or is made [from parts](Pretrained::from_parts) for a model
//!   of one's own; [`CheckpointFiles::save`] writes one, whole or not at all; [`save_lora`] and
//!   [`load_lora`] keep adapters in PEFT's files.
//! * `lora`: [`attach_lora`] and its kin put low-rank adapters on a model's [`LoraLinear`] layers.
//! * [`qwen_vl`]: [`QwenVl`], the family of Qwen2-VL and Qwen2.5-VL.
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

mod checkpoint;
mod encoder;
mod error;
mod layers;
mod lora;
mod model;
pub mod qwen_vl;

pub use checkpoint::checkpoint_files::CheckpointFiles;
pub use checkpoint::config_files::read_json;
pub use checkpoint::hub::HubSettings;
pub use checkpoint::layer_builder::LayerBuilder;
pub use checkpoint::load_model::{LoadModel, LoadOptions};
pub use checkpoint::peft::{load_lora, save_lora};
pub use checkpoint::pretrained::{LoadedAdapter, Pretrained};
pub use checkpoint::save::save_options::{SaveDtype, SaveOptions};
pub use checkpoint::save::save_weights::save_weights;
pub use checkpoint::save::shards::{TensorToSave, write_tensors};
pub use checkpoint::weights::random_weights::RandomWeights;
pub use checkpoint::weights::safetensors_dir::SafetensorsDir;
pub use checkpoint::weights::weight_source::{ParamDtype, WeightSource};
pub use encoder::chat::{self, ChatTemplate};
pub use encoder::prompt_encoder::PromptEncoder;
pub use encoder::tokenizer::{self, Tokenizer};
pub use error::Error;
pub use layers::lora_linear::{Adapter, LoraLinear};
pub use lora::attach::{attach_lora, merge_lora, without_lora};
pub use lora::config::{LoraConfig, TargetModules};
pub use model::attention::attend;
pub use model::batched_cache::BatchedCache;
pub use model::decoder_input::DecoderInput;
pub use model::feature_store::FeatureStore;
pub use model::kv_cache::KvCache;
pub use model::parameter_path::ParameterPath;
pub use model::parameters::{
    NamedParameter, ParameterHandle, map_parameters, replace_values, visit_gradients,
    visit_handles, visit_parameters,
};
pub use model::part::Part;
pub use model::positions::Positions;
pub use model::prefill::{ModelInput, PromptLayout, SharedPrompt, prefill};
pub use model::segment::Segment;
pub use model::step_decoder::{StepDecoder, StepInput};
pub use model::trainable::{Trainable, trains_vision};
pub use model::vision_language_model::{ModelInfo, Output, VisionLanguageModel};
pub use qwen_vl::{QwenVl, QwenVlConfig};
pub use visrl_image::{ProcessedImage, Processor};
pub use visrl_kernels::Heads;

/// The example of the README, as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
