//! Families of models that load from a folder.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use visrl_image::{ImagePipeline, Limits, Processor};

use super::checkpoint_files::CheckpointFiles;
use super::weights::weight_source::{ParamDtype, WeightSource};
use crate::error::Error;
use crate::model::vision_language_model::VisionLanguageModel;

/// How a checkpoint is loaded, where it is not as its files say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoadOptions {
    /// The number format of the parameters, whatever that of the files.
    pub dtype: ParamDtype,
    /// What happens to an image before the processor's resize, when not what the folder says. The
    /// folder that is saved says it.
    pub pipeline: Option<ImagePipeline>,
    /// The fewest pixels of an image after the processor's resize, when not as the folder says. The
    /// folder that is saved says it.
    pub min_pixels: Option<usize>,
    /// The most pixels of an image after the processor's resize, when not as the folder says: what
    /// an image costs in tokens is this over the pixels of one, 28 x 28. The folder that is saved
    /// says it.
    pub max_pixels: Option<usize>,
    /// The most tokens of a prompt, those of its images included; 2048 if none is given.
    pub max_prompt_tokens: Option<usize>,
    /// What an image file may cost, when not as the folder says. The folder that is saved says it.
    pub limits: Option<Limits>,
}

/// A family of models that [`Pretrained::load`](super::pretrained::Pretrained::load) can load from
/// a folder in Hugging Face layout.
///
/// # Adding a family
/// A folder with a [`VisionLanguageModel`] and these three methods. Tokenizer, chat template,
/// weights by name, saving and adapters come with it.
pub trait LoadModel: VisionLanguageModel {
    /// What `config.json` says of the model.
    type Config;

    /// Reads the configuration of a folder.
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field: one that is missing or cannot be used, and a
    /// `model_type` of another family.
    fn read_config(dir: &Path) -> Result<Self::Config, Error>;

    /// Reads the image processor of a folder, for the model of this configuration. Settings that `options` change and the folder's files
    /// do not say are put into `files`, so that a folder saved with them is loaded the same.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Image`] with the file and the field.
    fn read_processor(
        dir: &Path,
        config: &Self::Config,
        options: &LoadOptions,
        files: &mut CheckpointFiles,
    ) -> Result<Arc<dyn Processor>, Error>;

    /// Builds the model from weights by their Hugging Face names.
    ///
    /// # Errors
    /// [`Error::MissingTensor`], [`Error::Shape`] and [`Error::Weights`] with the file and the
    /// tensor.
    fn from_weights(
        config: Self::Config,
        source: &mut dyn WeightSource,
        device: &Device,
        dtype: ParamDtype,
    ) -> Result<Self, Error>;
}
