//! What stands beside the weights in a checkpoint folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;
use visrl_core::files::{FileError, write_dir};
use visrl_image::Qwen2VlProcessorConfig;

use super::save::config_dtype::config_with_dtype;
use super::save::save_options::SaveOptions;
use super::save::save_weights::save_weights;
use crate::error::Error;
use crate::model::vision_language_model::VisionLanguageModel;

/// Files of a checkpoint that are copied as they are.
const FILES: [&str; 11] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
];

/// The files of a checkpoint other than its weights, byte for byte.
#[derive(Clone)]
pub struct CheckpointFiles {
    files: Arc<Vec<(&'static str, Vec<u8>)>>,
}

impl std::fmt::Debug for CheckpointFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.files.iter().map(|(name, _)| name))
            .finish()
    }
}

impl CheckpointFiles {
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let mut files = Vec::new();
        for name in FILES {
            let path = dir.join(name);
            match fs::read(&path) {
                Ok(bytes) => files.push((name, bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io(&path, source)),
            }
        }
        Ok(Self {
            files: Arc::new(files),
        })
    }

    /// Puts the processor's settings that Hugging Face's files do not have where they are read from.
    pub(super) fn record_processor(
        &mut self,
        dir: &Path,
        config: &Qwen2VlProcessorConfig,
    ) -> Result<(), Error> {
        let files = Arc::make_mut(&mut self.files);
        for (file, part) in Qwen2VlProcessorConfig::PLACES {
            let Some((name, bytes)) = files.iter_mut().find(|(name, _)| *name == file) else {
                continue;
            };
            let path = dir.join(*name);
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
            *bytes = serde_json::to_vec_pretty(&value).map_err(json)?;
            return Ok(());
        }
        Ok(())
    }

    /// Saves a model with these files as a checkpoint in Hugging Face layout, whole or not at all.
    /// `config.json` tells the number format of the weights.
    ///
    /// # Errors
    /// [`Error::File`] or [`Error::Weights`] with the path; a checkpoint that was there before
    /// stays.
    pub fn save<M: VisionLanguageModel>(
        &self,
        model: &M,
        dir: impl AsRef<Path>,
        options: impl Into<SaveOptions>,
    ) -> Result<(), Error> {
        let options = options.into();
        write_dir(dir.as_ref(), |new| {
            for (name, bytes) in self.files.iter() {
                let path = new.join(name);
                let bytes = match *name {
                    "config.json" => {
                        let config = config_with_dtype(bytes, options.dtype);
                        config.map_err(|message| Error::field(&path, "torch_dtype", message))?
                    }
                    _ => bytes.clone(),
                };
                fs::write(&path, bytes).map_err(|source| Error::io(&path, source))?;
            }
            save_weights(model, new, options)
        })
    }
}
