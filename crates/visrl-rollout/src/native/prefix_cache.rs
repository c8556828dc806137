//! Encoded prompts that may come again.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use visrl_core::FifoCache;
use visrl_vlm::{KvCache, ModelInput};

/// Keeps prompts' keys and values while the weights stay the same, the oldest leaving first.
#[derive(Debug)]
pub(super) struct PrefixCache {
    /// Costs are prompt tokens.
    by_prompt: FifoCache<PromptKey, KvCache>,
}

impl PrefixCache {
    /// A cache of at most so many prompt tokens.
    pub(super) fn new(most_tokens: usize) -> Self {
        Self {
            by_prompt: FifoCache::new(most_tokens),
        }
    }

    /// Forgets everything: the weights have changed.
    pub(super) fn clear(&mut self) {
        self.by_prompt.clear();
    }

    /// The keys and values of a prompt.
    pub(super) fn get(&self, input: &Arc<ModelInput>) -> Option<KvCache> {
        if self.by_prompt.is_empty() {
            return None;
        }
        self.by_prompt.get(&PromptKey(Arc::clone(input))).cloned()
    }

    /// Keeps a prefix that no row has added to.
    pub(super) fn keep(&mut self, input: &Arc<ModelInput>, cache: &KvCache) {
        let (key, tokens) = (PromptKey(Arc::clone(input)), input.ids.len());
        if tokens <= self.by_prompt.capacity() && !self.by_prompt.contains_key(&key) {
            self.by_prompt.insert(key, cache.clone(), tokens);
        }
    }
}

/// Prompts are the same when their tokens are and their images are the same allocations.
#[derive(Clone, Debug)]
struct PromptKey(Arc<ModelInput>);

impl PartialEq for PromptKey {
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        let mut images = a.images.iter().zip(&b.images);
        Arc::ptr_eq(a, b)
            || (a.ids == b.ids
                && a.positions == b.positions
                && a.images.len() == b.images.len()
                && images.all(|(a, b)| Arc::ptr_eq(a, b)))
    }
}

impl Eq for PromptKey {}

impl Hash for PromptKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.ids.hash(state);
        for image in &self.0.images {
            Arc::as_ptr(image).hash(state);
        }
    }
}

#[cfg(test)]
mod tests {
    use visrl_vlm::{Positions, ProcessedImage};

    use super::*;

    fn input(ids: &[u32], images: &[Arc<ProcessedImage>]) -> Arc<ModelInput> {
        Arc::new(ModelInput {
            ids: ids.to_vec(),
            images: images.to_vec(),
            positions: Positions {
                ids: vec![[0; 3]; ids.len()],
                next: ids.len() as u32,
            },
        })
    }

    #[test]
    fn prompts_are_known_by_tokens_and_images() {
        let image = || Arc::new(ProcessedImage::new(vec![0.5; 4], [1, 1, 1]));
        let (one, other) = (image(), image());
        let mut cache = PrefixCache::new(10);
        let kept = input(&[1, 2, 3], std::slice::from_ref(&one));
        assert!(cache.get(&kept).is_none());
        cache.keep(&kept, &KvCache::default());
        for (found, input) in [
            (true, Arc::clone(&kept)),
            (true, input(&[1, 2, 3], std::slice::from_ref(&one))),
            (false, input(&[1, 2, 3], &[other])),
            (false, input(&[1, 2, 3], &[])),
            (false, input(&[1, 2, 4], &[one])),
        ] {
            assert_eq!(cache.get(&input).is_some(), found, "{input:?}");
        }
        cache.clear();
        assert!(cache.get(&kept).is_none());
    }

    #[test]
    fn prompt_tokens_bound_it() {
        let mut cache = PrefixCache::new(5);
        let inputs = [&[1, 2, 3][..], &[4, 5], &[6, 7], &[0; 6]].map(|ids| input(ids, &[]));
        for input in &inputs {
            cache.keep(input, &KvCache::default());
        }
        let kept = inputs.each_ref().map(|input| cache.get(input).is_some());
        assert_eq!(kept, [false, true, true, false]);
    }
}
