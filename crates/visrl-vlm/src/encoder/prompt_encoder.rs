//! From prompts to a model's input.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use visrl_core::{FifoCache, ImageSource, Prompt};
use visrl_image::{ImagePipeline, ProcessedImage, Processor};

use super::chat::template::ChatTemplate;
use super::text_only::TextOnly;
use super::tokenizer::byte_level::Tokenizer;
use crate::error::Error;
use crate::model::prefill::ModelInput;
use crate::model::vision_language_model::VisionLanguageModel;

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
    images: Mutex<Images>,
}

/// Prepared images with the sources that they came from; each costs 1.
type Images = FifoCache<ImageKey, (ImageSource, Arc<ProcessedImage>)>;

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
    /// Reads tokenizer and chat template of a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Tokenizer`] or [`Error::Template`] with the file that is missing
    /// or damaged.
    pub fn from_dir(dir: &Path, processor: Arc<dyn Processor>) -> Result<Self, Error> {
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
        Self {
            processor,
            tokenizer,
            template,
            max_tokens: MAX_TOKENS,
            images: Mutex::new(FifoCache::new(IMAGE_CAPACITY)),
        }
    }

    /// An encoder for a model that reads no images; prompts with one are refused.
    pub fn text_only(tokenizer: Arc<Tokenizer>, template: ChatTemplate) -> Self {
        Self::new(Arc::new(TextOnly), tokenizer, template)
    }

    /// Refuses prompts of more tokens than this (default 2048); they are never cut.
    #[must_use]
    pub fn with_max_tokens(mut self, max_tokens: usize) -> Self {
        self.max_tokens = max_tokens;
        self
    }

    /// An encoder whose images go through another pipeline. It keeps images of its own.
    ///
    /// # Errors
    /// [`Error::Image`] when the processor cannot use the pipeline.
    pub fn behind(&self, pipeline: ImagePipeline) -> Result<Self, Error> {
        let processor = self.processor.behind(pipeline)?;
        let (tokenizer, template) = (Arc::clone(&self.tokenizer), self.template.clone());
        Ok(Self::new(processor, tokenizer, template).with_max_tokens(self.max_tokens))
    }

    /// Keeps at most this many prepared images from now on (default 4096), the newest; those kept
    /// before are forgotten.
    pub fn set_image_capacity(&self, capacity: usize) {
        *self.lock() = FifoCache::new(capacity);
    }

    /// The image processor.
    pub fn processor(&self) -> &dyn Processor {
        &*self.processor
    }

    /// The image processor, for who keeps it.
    pub fn shared_processor(&self) -> &Arc<dyn Processor> {
        &self.processor
    }

    /// The chat template.
    pub fn template(&self) -> &ChatTemplate {
        &self.template
    }

    /// The tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.tokenizer
    }

    /// Encodes prompts for a model, their images in parallel.
    ///
    /// # Errors
    /// [`Error::Image`] with the name of an image that cannot be used, [`Error::Prompt`] with the
    /// id of a prompt that is too long or whose text and images do not fit, [`Error::Template`]
    /// when the template refuses a conversation, and [`Error::Input`] when the model finds no
    /// positions.
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
                .filter(|source| !cache.contains_key(&ImageKey::of(source)))
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
            let key = ImageKey::of(source);
            let kept = cache.get(&key).map(|(_, image)| image);
            let kept = kept.or_else(|| fresh_by_key.get(&key)).cloned();
            let image = kept.ok_or_else(|| Error::Input("an image was not prepared".into()))?;
            out.push(image);
        }
        for source in &missing {
            let key = ImageKey::of(source);
            if let Some(image) = fresh_by_key.remove(&key) {
                cache.insert(key, (source.clone(), image), 1);
            }
        }
        Ok(out)
    }

    fn lock(&self) -> MutexGuard<'_, Images> {
        self.images.lock().unwrap_or_else(PoisonError::into_inner)
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
