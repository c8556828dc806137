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
        config: &QwenVlConfig,
        options: &LoadOptions,
        files: &mut CheckpointFiles,
    ) -> Result<Arc<dyn Processor>, Error> {
        let saved = Qwen2VlProcessorConfig::from_dir(dir)?;
        check_sizes(dir, &saved, config)?;
        let settings = Qwen2VlProcessorConfig {
            pipeline: options.pipeline.unwrap_or(saved.pipeline),
            min_pixels: options.min_pixels.unwrap_or(saved.min_pixels),
            max_pixels: options.max_pixels.unwrap_or(saved.max_pixels),
            limits: options.limits.unwrap_or(saved.limits),
            ..saved
        };
        let changes = Changes {
            own: options.pipeline.is_some() || options.limits.is_some(),
            bounds: options.min_pixels.is_some() || options.max_pixels.is_some(),
        };
        let processor = Qwen2VlProcessor::new(settings)?;
        for (name, bytes) in recorded(dir, files, processor.config(), changes)? {
            *files = std::mem::take(files).with(name, bytes)?;
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

/// Refuses sizes of the processor that are not those of the model: it would cut other patches than
/// the vision tower reads.
fn check_sizes(
    dir: &Path,
    processor: &Qwen2VlProcessorConfig,
    model: &QwenVlConfig,
) -> Result<(), Error> {
    let vision = &model.vision;
    if vision.channels != 3 {
        let message = format!("is {}, but images are read in 3 colours", vision.channels);
        let config = dir.join("config.json");
        return Err(Error::field(&config, "vision_config.in_channels", message));
    }
    let temporal = "temporal_patch_size";
    for (field, found, of_model, expected) in [
        (
            "patch_size",
            processor.patch_size,
            "patch_size",
            vision.patch_size,
        ),
        (
            temporal,
            processor.temporal_patch_size,
            temporal,
            vision.temporal_patch_size,
        ),
        (
            "merge_size",
            processor.merge_size,
            "spatial_merge_size",
            vision.merge_size,
        ),
    ] {
        if found != expected {
            let (path, field) = Qwen2VlProcessorConfig::place_of(dir, field)?;
            let message =
                format!("is {found}, but `vision_config.{of_model}` of config.json is {expected}");
            return Err(Error::field(&path, &field, message));
        }
    }
    Ok(())
}

/// Which of the processor's settings are not those of the folder.
#[derive(Clone, Copy)]
struct Changes {
    /// Those that Hugging Face's files do not have.
    own: bool,
    /// The bounds of an image's pixels.
    bounds: bool,
}

/// The files that hold the processor's settings, with those that were changed: the one that is read
/// here, and the one that another version of transformers reads.
fn recorded(
    dir: &Path,
    files: &CheckpointFiles,
    config: &Qwen2VlProcessorConfig,
    changes: Changes,
) -> Result<Vec<(&'static str, Vec<u8>)>, Error> {
    let mut changed = Vec::new();
    for (name, part) in Qwen2VlProcessorConfig::PLACES {
        let Some(bytes) = files.get(name).filter(|_| changes.own || changes.bounds) else {
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
        if changes.own {
            config.record_own(settings).map_err(json)?;
        }
        if changes.bounds {
            config.record_bounds(settings);
        }
        changed.push((name, serde_json::to_vec_pretty(&value).map_err(json)?));
    }
    Ok(changed)
}
