//! Encoding the prompts of groups that enter.

use std::sync::Arc;

use visrl_vlm::{FeatureStore, Segment, SharedPrompt, VisionLanguageModel, prefill};

use super::config::EngineConfig;
use super::prefix_cache::PrefixCache;
use crate::error::Error;
use crate::request::GroupRequest;
use crate::scheduler::Admitted;

/// Encodes prompts, or finds them encoded.
#[derive(Debug)]
pub(crate) struct Prefiller {
    features: Arc<FeatureStore>,
    prefix_cache: PrefixCache,
    /// Whether each image and each prompt is encoded alone.
    batch_invariant: bool,
}

impl Prefiller {
    /// As an engine of these settings needs it.
    pub(crate) fn new(features: Arc<FeatureStore>, config: &EngineConfig) -> Self {
        Self {
            features,
            prefix_cache: PrefixCache::new(config.kept_prompt_tokens),
            batch_invariant: config.batch_invariant,
        }
    }

    /// Forgets all prompts: the weights have changed.
    pub(crate) fn forget(&mut self) {
        self.prefix_cache.clear();
    }

    /// A segment of one group for each request, ready for the first token of its rows.
    pub(crate) fn prefill<'r, M: VisionLanguageModel>(
        &mut self,
        model: &M,
        admitted: Vec<Admitted<'r>>,
    ) -> Vec<(Admitted<'r>, Result<Segment, Error>)> {
        let together = match self.batch_invariant {
            true => 1,
            false => admitted.len().max(1),
        };
        let mut segments = Vec::with_capacity(admitted.len());
        for batch in admitted.chunks(together) {
            match self.encode(model, batch) {
                Ok(found) => segments.extend(found.into_iter().map(Ok)),
                Err(error) if batch.len() == 1 => segments.push(Err(error)),
                // One of them is at fault; the others go on.
                Err(_) => segments.extend(batch.iter().map(|one| {
                    let mut found = self.encode(model, std::slice::from_ref(one))?;
                    Ok(found.remove(0))
                })),
            }
        }
        admitted.into_iter().zip(segments).collect()
    }

    fn encode<M: VisionLanguageModel>(
        &mut self,
        model: &M,
        admitted: &[Admitted<'_>],
    ) -> Result<Vec<Segment>, Error> {
        let known = |request: &GroupRequest| {
            let cache = self.prefix_cache.get(&request.input)?;
            Some(Segment {
                groups: 1,
                rows: request.num_generations,
                len: 1,
                cache,
            })
        };
        let mut segments: Vec<Option<Segment>> =
            admitted.iter().map(|one| known(one.request)).collect();
        let missing: Vec<usize> = (0..admitted.len())
            .filter(|&i| segments[i].is_none())
            .collect();
        let prompts: Vec<SharedPrompt<'_>> = missing
            .iter()
            .map(|&i| SharedPrompt {
                input: &admitted[i].request.input,
                rows: admitted[i].request.num_generations,
            })
            .collect();
        if self.batch_invariant {
            self.encode_images_alone(model, &prompts)?;
        }
        let fresh = prefill(model, Some(&self.features), &prompts)?;
        let fresh = fresh.into_iter().flat_map(Segment::split_groups);
        for (i, segment) in missing.into_iter().zip(fresh) {
            let input = &admitted[i].request.input;
            self.prefix_cache.keep(input, &segment.cache);
            segments[i] = Some(segment);
        }
        Ok(segments.into_iter().flatten().collect())
    }

    /// Which of several images are kept already must not matter.
    fn encode_images_alone<M: VisionLanguageModel>(
        &self,
        model: &M,
        prompts: &[SharedPrompt<'_>],
    ) -> Result<(), Error> {
        let several = prompts
            .iter()
            .filter(|prompt| prompt.input.images.len() > 1);
        for image in several.flat_map(|prompt| &prompt.input.images) {
            self.features.get(model, std::slice::from_ref(image))?;
        }
        Ok(())
    }
}
