//! Image features that are kept, for vision towers that are not trained.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use burn::tensor::Tensor;
use visrl_core::FifoCache;
use visrl_image::ProcessedImage;

use super::vision_language_model::VisionLanguageModel;
use crate::error::Error;

/// By the address of the image, which the entry keeps alive; each costs 1.
type Kept = FifoCache<usize, (Arc<ProcessedImage>, Tensor<2>)>;

/// Keeps the features of images between steps and between engine and learner.
///
/// Right as long as the vision tower's weights stay the same; [`clear`](Self::clear) it when they
/// change. An image is recognised by its allocation: the same [`Arc`], not equal pixels.
#[derive(Debug)]
pub struct FeatureStore {
    kept: Mutex<Kept>,
}

impl Default for FeatureStore {
    /// For as many images as a [`PromptEncoder`](crate::PromptEncoder) keeps by default, 4096.
    fn default() -> Self {
        Self::new(4096)
    }
}

impl FeatureStore {
    /// A store for at most this many images; the oldest leave first.
    pub fn new(capacity: usize) -> Self {
        Self {
            kept: Mutex::new(FifoCache::new(capacity)),
        }
    }

    /// Forgets all features.
    pub fn clear(&self) {
        self.lock().clear();
    }

    /// The number of images kept.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether no image is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The features of images one after another, `[visual tokens, hidden]` or wider, on a plain device;
    /// those not kept yet are encoded together. Nothing for no images.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model: its patches have another size
    /// or its grid cannot be merged.
    pub fn get<M: VisionLanguageModel>(
        &self,
        model: &M,
        images: &[Arc<ProcessedImage>],
    ) -> Result<Option<Tensor<2>>, Error> {
        let key = |image: &Arc<ProcessedImage>| Arc::as_ptr(image) as usize;
        let mut found: HashMap<usize, Tensor<2>> = HashMap::new();
        let mut missing: Vec<Arc<ProcessedImage>> = Vec::new();
        {
            let kept = self.lock();
            for image in images {
                match kept.get(&key(image)) {
                    Some((_, features)) => {
                        found.insert(key(image), features.clone());
                    }
                    None if missing.iter().all(|other| !Arc::ptr_eq(other, image)) => {
                        missing.push(Arc::clone(image));
                    }
                    None => {}
                }
            }
        }
        if !missing.is_empty() {
            let encoded = model.valid().encode_images(&missing)?;
            let mut kept = self.lock();
            let mut start = 0;
            for image in missing {
                let tokens = model.image_tokens(image.grid);
                let features = encoded.clone().narrow(0, start, tokens);
                start += tokens;
                found.insert(key(&image), features.clone());
                kept.insert(key(&image), (image, features), 1);
            }
        }
        let parts: Vec<_> = images
            .iter()
            .filter_map(|image| found.get(&key(image)).cloned())
            .collect();
        Ok((!parts.is_empty()).then(|| Tensor::cat(parts, 0)))
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // The cache is whole at every point where a panic could have poisoned the lock.
        self.kept
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
