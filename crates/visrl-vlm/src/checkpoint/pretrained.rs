//! A checkpoint folder in Hugging Face layout: model, processor, tokenizer and chat template.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use visrl_image::{ImagePipeline, Qwen2VlProcessor};

use super::checkpoint_files::CheckpointFiles;
use super::weights::safetensors_dir::SafetensorsDir;
use super::weights::weight_source::{ParamDtype, WeightSource};
use crate::encoder::prompt_encoder::PromptEncoder;
use crate::error::Error;
use crate::qwen_vl::{QwenVl, QwenVlConfig};

/// A model with all that stands beside its weights.
#[derive(Debug)]
pub struct Pretrained<M> {
    /// The model, on a plain device.
    pub model: M,
    /// From prompts to the model's input.
    pub encoder: Arc<PromptEncoder>,
    /// The other files of the folder, for saving.
    pub files: CheckpointFiles,
    /// The folder that it came from, as it was named.
    pub name: String,
}

/// How a checkpoint is loaded, where it is not as its files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// The number format of the parameters, whatever that of the files.
    pub dtype: ParamDtype,
    /// What happens to an image before the processor's resize, when not what the folder says. The
    /// folder that is saved says it.
    pub pipeline: Option<ImagePipeline>,
}

impl Pretrained<QwenVl> {
    /// Loads a folder in Hugging Face layout.
    ///
    /// # Errors
    /// A typed error that names the file and the field, tensor or token.
    pub fn load(dir: impl AsRef<Path>, device: &Device) -> Result<Self, Error> {
        Self::load_with(dir, device, &LoadOptions::default())
    }

    /// As [`load`](Self::load), with options.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(
        dir: impl AsRef<Path>,
        device: &Device,
        options: &LoadOptions,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref();
        // The small files first: they tell more clearly what is wrong with a folder.
        let config = QwenVlConfig::from_dir(dir)?;
        let mut files = CheckpointFiles::read(dir)?;
        let mut processor = Qwen2VlProcessor::from_dir(dir)?;
        if let Some(pipeline) = options.pipeline {
            processor = processor.with_pipeline(pipeline)?;
            files.record_processor(dir, processor.config())?;
        }
        let encoder = PromptEncoder::with_processor(dir, Arc::new(processor))?;
        let source = &mut SafetensorsDir::open(dir)?;
        let model = QwenVl::with_dtype(config, source, device, options.dtype)?;
        Ok(Self {
            model,
            encoder: Arc::new(encoder),
            files,
            name: dir.display().to_string(),
        })
    }

    /// As [`load`](Self::load), with weights from another source: a folder without weights
    /// becomes a new model.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn with_weights(
        dir: impl AsRef<Path>,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let config = QwenVlConfig::from_dir(dir)?;
        let encoder = PromptEncoder::from_dir(dir)?;
        let model = QwenVl::new(config, source, device)?;
        Ok(Self {
            model,
            encoder: Arc::new(encoder),
            files: CheckpointFiles::read(dir)?,
            name: dir.display().to_string(),
        })
    }
}
