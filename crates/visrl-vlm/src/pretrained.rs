//! A checkpoint folder in Hugging Face layout: model, processor, tokenizer and chat template.

use std::collections::{HashMap, VecDeque};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use visrl_core::{ImageSource, Prompt};

use crate::chat::ChatTemplate;
use crate::save::config_with_dtype;
use crate::{
    Error, ModelInput, ParamDtype, ProcessedImage, QwenVl, QwenVlConfig, SafetensorsDir,
    SaveOptions, Tokenizer, VisionLanguageModel, WeightSource, save_weights,
};
use visrl_core::files::{FileError, write_dir};
use visrl_image::{ImagePipeline, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};

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
    fn read(dir: &Path) -> Result<Self, Error> {
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
    fn record_processor(
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

/// Turns prompts into what a model reads: the chat template is rendered, images are prepared, and
/// each image token is expanded to as many as the image has visual tokens.
///
/// Prepared images are kept (up to [`set_image_capacity`](Self::set_image_capacity)), so that an
/// image that comes again in a later epoch is the same allocation, and its features can be kept,
/// too.
pub struct PromptEncoder {
    processor: Arc<dyn Processor>,
    tokenizer: Arc<Tokenizer>,
    template: ChatTemplate,
    max_tokens: usize,
    images: Mutex<ImageCache>,
}

impl std::fmt::Debug for PromptEncoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PromptEncoder")
            .field("max_tokens", &self.max_tokens)
            .finish_non_exhaustive()
    }
}

/// The default limit of a prompt's tokens: the paper's for its data set with the longest prompts.
const MAX_TOKENS: usize = 2048;
const IMAGE_CAPACITY: usize = 4096;

impl PromptEncoder {
    /// Reads processor, tokenizer and chat template of a checkpoint.
    ///
    /// # Errors
    /// A typed error that names the file.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        Self::with_processor(dir, Arc::new(Qwen2VlProcessor::from_dir(dir)?))
    }

    /// Reads tokenizer and chat template of a checkpoint, with a processor of one's own.
    ///
    /// # Errors
    /// A typed error that names the file.
    pub fn with_processor(dir: &Path, processor: Arc<dyn Processor>) -> Result<Self, Error> {
        let tokenizer = Arc::new(Tokenizer::from_dir(dir)?);
        Ok(Self::new(
            processor,
            tokenizer,
            ChatTemplate::from_dir(dir)?,
        ))
    }

    /// An encoder of these parts.
    pub fn new(
        processor: Arc<dyn Processor>,
        tokenizer: Arc<Tokenizer>,
        template: ChatTemplate,
    ) -> Self {
        let images = Mutex::new(ImageCache {
            capacity: IMAGE_CAPACITY,
            ..Default::default()
        });
        Self {
            processor,
            tokenizer,
            template,
            max_tokens: MAX_TOKENS,
            images,
        }
    }

    /// Refuses prompts of more tokens than this (default 2048); they are never cut.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// Keeps at most this many prepared images from now on (default 4096); 0 keeps none.
    pub fn set_image_capacity(&self, capacity: usize) {
        self.lock().capacity = capacity;
    }

    /// The image processor.
    pub fn processor(&self) -> &dyn Processor {
        &*self.processor
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Encodes prompts for a model, their images in parallel.
    ///
    /// # Errors
    /// [`Error::Image`] or [`Error::Prompt`] by name.
    pub fn encode_all<M: VisionLanguageModel>(
        &self,
        model: &M,
        prompts: &[Arc<Prompt>],
    ) -> Result<Vec<Arc<ModelInput>>, Error> {
        let sources: Vec<ImageSource> = prompts
            .iter()
            .flat_map(|prompt| prompt.images().cloned())
            .collect();
        let mut images = self.process(&sources)?.into_iter();
        prompts
            .iter()
            .map(|prompt| {
                let count = prompt.images().count();
                let images: Vec<_> = images.by_ref().take(count).collect();
                let grids: Vec<_> = images.iter().map(|image| image.grid).collect();
                let encoded = self.template.encode_prompt(
                    prompt,
                    &grids,
                    &self.tokenizer,
                    self.processor.merge_size(),
                    self.max_tokens,
                )?;
                let positions = model.positions(&encoded.ids, &grids)?;
                Ok(Arc::new(ModelInput {
                    ids: encoded.ids,
                    images,
                    positions,
                }))
            })
            .collect()
    }

    fn process(&self, sources: &[ImageSource]) -> Result<Vec<Arc<ProcessedImage>>, Error> {
        let missing: Vec<ImageSource> = {
            let cache = self.lock();
            sources
                .iter()
                .filter(|source| cache.get(source).is_none())
                .cloned()
                .collect()
        };
        let fresh = self.processor.process_all(&missing)?;
        let mut fresh_by_key: HashMap<ImageKey, Arc<ProcessedImage>> = HashMap::new();
        for (source, image) in missing.iter().zip(fresh) {
            fresh_by_key.insert(ImageKey::of(source), image);
        }
        let mut cache = self.lock();
        let mut out = Vec::with_capacity(sources.len());
        for source in sources {
            let kept = cache
                .get(source)
                .or_else(|| fresh_by_key.get(&ImageKey::of(source)).cloned());
            let image = kept.ok_or_else(|| Error::Input("an image was not prepared".into()))?;
            out.push(image);
        }
        for source in &missing {
            if let Some(image) = fresh_by_key.remove(&ImageKey::of(source)) {
                cache.insert(source.clone(), image);
            }
        }
        Ok(out)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ImageCache> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Prepared images by their sources; the oldest leave first.
#[derive(Default)]
struct ImageCache {
    capacity: usize,
    by_key: HashMap<ImageKey, (ImageSource, Arc<ProcessedImage>)>,
    order: VecDeque<ImageKey>,
}

impl ImageCache {
    fn get(&self, source: &ImageSource) -> Option<Arc<ProcessedImage>> {
        self.by_key
            .get(&ImageKey::of(source))
            .map(|(_, image)| Arc::clone(image))
    }

    fn insert(&mut self, source: ImageSource, image: Arc<ProcessedImage>) {
        let key = ImageKey::of(&source);
        if self.by_key.insert(key.clone(), (source, image)).is_none() {
            self.order.push_back(key);
        }
        while self.by_key.len() > self.capacity {
            let Some(oldest) = self.order.pop_front() else {
                return;
            };
            self.by_key.remove(&oldest);
        }
    }
}

/// What makes two sources the same image: one path, or one allocation, which the cache keeps
/// alive.
#[derive(Clone, PartialEq, Eq, Hash)]
enum ImageKey {
    Path(Arc<Path>),
    Memory(usize, u32, u32),
}

impl ImageKey {
    fn of(source: &ImageSource) -> Self {
        match source {
            ImageSource::Path(path) => Self::Path(Arc::clone(path)),
            ImageSource::Encoded { bytes, .. } => Self::Memory(bytes.as_ptr() as usize, 0, 0),
            ImageSource::Gray {
                pixels,
                width,
                height,
                ..
            }
            | ImageSource::Rgb {
                pixels,
                width,
                height,
                ..
            } => Self::Memory(pixels.as_ptr() as usize, *width, *height),
        }
    }
}
