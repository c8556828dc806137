//! Loading from a folder.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::Value;
use visrl_core::files::FileError;
use visrl_image::{Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};

use super::config::QwenVlConfig;
use super::model::QwenVl;
use crate::checkpoint::checkpoint_files::CheckpointFiles;
use crate::checkpoint::load_model::{LoadModel, LoadOptions};
use crate::checkpoint::weights::weight_source::{ParamDtype, WeightSource};
use crate::error::Error;

impl LoadModel for QwenVl {
    type Config = QwenVlConfig;

    fn read_config(dir: &Path) -> Result<QwenVlConfig, Error> {
        QwenVlConfig::from_dir(dir)
    }

    fn read_processor(
        dir: &Path,
        options: &LoadOptions,
        files: &mut CheckpointFiles,
    ) -> Result<Arc<dyn Processor>, Error> {
        let mut processor = Qwen2VlProcessor::from_dir(dir)?;
        if let Some(pipeline) = options.pipeline {
            processor = processor.with_pipeline(pipeline)?;
            if let Some((name, bytes)) = recorded(dir, files, processor.config())? {
                *files = std::mem::take(files).with(name, bytes)?;
            }
        }
        Ok(Arc::new(processor))
    }

    fn from_weights(
        config: QwenVlConfig,
        source: &mut dyn WeightSource,
        device: &Device,
        dtype: ParamDtype,
    ) -> Result<Self, Error> {
        Self::with_dtype(config, source, device, dtype)
    }
}

/// The file that the processor's settings are read from, with those in it that Hugging Face's files
/// do not have.
fn recorded(
    dir: &Path,
    files: &CheckpointFiles,
    config: &Qwen2VlProcessorConfig,
) -> Result<Option<(&'static str, Vec<u8>)>, Error> {
    for (name, part) in Qwen2VlProcessorConfig::PLACES {
        let Some(bytes) = files.get(name) else {
            continue;
        };
        let path = dir.join(name);
        let json = |source| FileError::json(&path, source);
        let mut value: Value = serde_json::from_slice(bytes).map_err(json)?;
        let settings = match part {
            Some(part) => value.get_mut(part),
            None => Some(&mut value),
        };
        let Some(settings) = settings.and_then(Value::as_object_mut) else {
            continue;
        };
        config.record_own(settings).map_err(json)?;
        let bytes = serde_json::to_vec_pretty(&value).map_err(json)?;
        return Ok(Some((name, bytes)));
    }
    Ok(None)
}
