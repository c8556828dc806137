//! A checkpoint folder in Hugging Face layout: model, processor, tokenizer and chat template.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use visrl_core::warn_once;

use super::checkpoint_files::CheckpointFiles;
use super::hub::HubSettings;
use super::load_model::{LoadModel, LoadOptions};
use super::peft::load_lora;
use super::save::save_options::SaveOptions;
use super::weights::safetensors_dir::SafetensorsDir;
use super::weights::weight_source::WeightSource;
use crate::encoder::prompt_encoder::PromptEncoder;
use crate::encoder::tokenizer::special_tokens::{IMAGE_PAD, VIDEO_PAD};
use crate::error::Error;
use crate::lora::config::LoraConfig;
use crate::model::vision_language_model::VisionLanguageModel;

/// A model with all that stands beside its weights: what a run starts from and what it ends with.
///
/// A copy shares encoder, files and parameters.
#[derive(Clone, Debug)]
pub struct Pretrained<M> {
    /// The model, on a plain device.
    pub model: M,
    /// From prompts to the model's input.
    pub encoder: Arc<PromptEncoder>,
    /// The other files of the folder, for saving.
    pub files: CheckpointFiles,
    /// What a run's records call it: the folder that it came from, as it was named.
    pub name: String,
    /// The adapter that the model carries, where it was read from files. A training goes on with it.
    pub adapter: Option<LoadedAdapter>,
}

/// An adapter that was read from files.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedAdapter {
    /// The folder.
    pub dir: PathBuf,
    /// What it says.
    pub config: LoraConfig,
}

impl<M: VisionLanguageModel> Pretrained<M> {
    /// A model of one's own, with an encoder for its prompts and the files that are saved beside
    /// its weights. `name` is what a run's records call it.
    pub fn from_parts(
        name: impl Into<String>,
        model: M,
        encoder: impl Into<Arc<PromptEncoder>>,
        files: CheckpointFiles,
    ) -> Self {
        Self {
            model,
            encoder: encoder.into(),
            files,
            name: name.into(),
            adapter: None,
        }
    }

    /// With an adapter in PEFT's format on the model, which [`load_lora`] reads.
    ///
    /// # Errors
    /// As [`load_lora`], and [`Error::Adapter`] when the model carries one already.
    pub fn with_adapter(self, dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        if let Some(adapter) = &self.adapter {
            let message = format!(
                "{} cannot be put beside {}: merge one of them into the model",
                dir.display(),
                adapter.dir.display()
            );
            return Err(Error::Adapter(message));
        }
        let (model, config) = load_lora(self.model, &dir)?;
        Ok(Self {
            model,
            adapter: Some(LoadedAdapter { dir, config }),
            ..self
        })
    }

    /// Saves weights and files as a folder in Hugging Face layout, whole or not at all.
    ///
    /// # Errors
    /// As [`CheckpointFiles::save`].
    pub fn save(
        &self,
        dir: impl AsRef<Path>,
        options: impl Into<SaveOptions>,
    ) -> Result<(), Error> {
        self.files.save(&self.model, dir, options)
    }
}

impl<M: LoadModel> Pretrained<M> {
    /// Loads a folder in Hugging Face layout, or where there is none of this name, the model
    /// `ORG/NAME` or `ORG/NAME@REVISION` of the hub's cache ([`HubSettings::model_folder`]).
    ///
    /// # Errors
    /// [`Error::Hub`] for a model of the hub that cannot be had;
    /// [`Error::File`] with the file and the field that cannot be read or used;
    /// [`Error::Tokenizer`], [`Error::Template`] and [`Error::Image`] for what the encoder reads;
    /// [`Error::Weights`], [`Error::MissingTensor`] and [`Error::Shape`] with the tensor.
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
        let named = dir.as_ref();
        let dir = &*HubSettings::from_env().model_folder(named)?;
        // The small files first: they tell more clearly what is wrong with a folder.
        let mut parts = Parts::read(dir, options)?;
        parts.name = named.display().to_string();
        let mut source = SafetensorsDir::open(dir)?;
        let base = parts.build(&mut source, device, options)?;
        source.tell_unused();
        let adapter = dir.join("adapter_config.json");
        if adapter.exists() {
            warn_once(format!(
                "{}: stands beside a model and is not used; an adapter is given by its folder",
                adapter.display()
            ));
        }
        Ok(base)
    }

    /// As [`load`](Self::load), with weights from another source: a folder without weights
    /// becomes a new model.
    ///
    /// # Errors
    /// As [`load`](Self::load), the source's errors in the place of the folder's.
    pub fn with_weights(
        dir: impl AsRef<Path>,
        source: &mut dyn WeightSource,
        device: &Device,
    ) -> Result<Self, Error> {
        let options = LoadOptions::default();
        Parts::read(dir.as_ref(), &options)?.build(source, device, &options)
    }
}

/// All of a folder but its weights.
struct Parts<M: LoadModel> {
    config: M::Config,
    encoder: PromptEncoder,
    files: CheckpointFiles,
    dir: PathBuf,
    name: String,
}

impl<M: LoadModel> Parts<M> {
    fn read(dir: &Path, options: &LoadOptions) -> Result<Self, Error> {
        let config = M::read_config(dir)?;
        let mut files = CheckpointFiles::from_dir(dir)?;
        let processor = M::read_processor(dir, &config, options, &mut files)?;
        let mut encoder = PromptEncoder::from_dir(dir, processor)?;
        if let Some(most) = options.max_prompt_tokens {
            if most == 0 {
                return Err(Error::Input(
                    "`max_prompt_tokens` is 0, expected at least 1".into(),
                ));
            }
            encoder = encoder.with_max_tokens(most);
        }
        Ok(Self {
            config,
            encoder,
            files,
            dir: dir.to_owned(),
            name: dir.display().to_string(),
        })
    }

    fn build(
        self,
        source: &mut dyn WeightSource,
        device: &Device,
        options: &LoadOptions,
    ) -> Result<Pretrained<M>, Error> {
        let model = M::from_weights(self.config, source, device, options.dtype)?;
        check_pads(&self.dir.join("config.json"), &model, &self.encoder)?;
        let vocabulary = model.info().vocab_size;
        let last = self.encoder.tokenizer().last_added();
        if let Some((id, token)) = last.filter(|(id, _)| *id as usize >= vocabulary) {
            warn_once(format!(
                "{}: the tokenizer has `{token}` with id {id}, but the model has {vocabulary} \
                 embeddings (`vocab_size` of config.json): it cannot read that token",
                self.name
            ));
        }
        Ok(Pretrained::from_parts(
            self.name,
            model,
            self.encoder,
            self.files,
        ))
    }
}

/// Checks that the model knows the tokens for images and videos by the ids that the tokenizer gives
/// them.
fn check_pads<M: VisionLanguageModel>(
    config: &Path,
    model: &M,
    encoder: &PromptEncoder,
) -> Result<(), Error> {
    let (info, tokenizer) = (model.info(), encoder.tokenizer());
    let (found, pad) = (info.image_token_id, tokenizer.image_pad_id());
    if found != pad {
        let message = format!("is {found}, but the tokenizer has `{IMAGE_PAD}` with id {pad}");
        return Err(Error::field(config, "image_token_id", message));
    }
    match tokenizer.token_id(VIDEO_PAD) {
        Some(pad) if !info.banned_ids.contains(&pad) => {
            let message = format!("is not {pad}, with which the tokenizer has `{VIDEO_PAD}`");
            Err(Error::field(config, "video_token_id", message))
        }
        _ => Ok(()),
    }
}
