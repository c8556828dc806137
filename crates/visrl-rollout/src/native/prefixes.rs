//! Keys and values of prompts that may come again.

use std::collections::VecDeque;
use std::sync::Arc;

use visrl_vlm::{KvCache, ModelInput};

/// Keeps prompts' keys and values while the weights stay the same, the oldest leaving first.
#[derive(Debug)]
pub(super) struct Prefixes {
    /// The most prompt tokens kept.
    most: usize,
    entries: VecDeque<(Arc<ModelInput>, KvCache)>,
}

impl Prefixes {
    pub(super) fn new(most: usize) -> Self {
        Self {
            most,
            entries: VecDeque::new(),
        }
    }

    /// Forgets everything: the weights have changed.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    pub(super) fn get(&self, input: &Arc<ModelInput>) -> Option<KvCache> {
        let mut entries = self.entries.iter();
        let (_, cache) = entries.find(|(kept, _)| same(kept, input))?;
        Some(cache.clone())
    }

    /// Keeps a prefix that no row has added to.
    pub(super) fn keep(&mut self, input: &Arc<ModelInput>, cache: &KvCache) {
        if input.ids.len() > self.most || self.get(input).is_some() {
            return;
        }
        self.entries.push_back((Arc::clone(input), cache.clone()));
        let mut tokens: usize = self.entries.iter().map(|(kept, _)| kept.ids.len()).sum();
        while tokens > self.most {
            let Some((oldest, _)) = self.entries.pop_front() else {
                return;
            };
            tokens -= oldest.ids.len();
        }
    }
}

/// Whether two prompts are the same tokens and the same images.
fn same(a: &Arc<ModelInput>, b: &Arc<ModelInput>) -> bool {
    let images = || a.images.iter().zip(&b.images);
    Arc::ptr_eq(a, b)
        || (a.ids == b.ids
            && a.positions == b.positions
            && a.images.len() == b.images.len()
            && images().all(|(a, b)| Arc::ptr_eq(a, b)))
}
