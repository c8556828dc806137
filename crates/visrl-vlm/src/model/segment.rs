//! Sequences that run through the decoder together, and how they part.

use burn::tensor::Tensor;

use super::index_tensor::index_tensor;
use super::kv_cache::KvCache;

/// Sequences of one shape that run through the decoder together.
///
/// `groups * rows` sequences get `len` new tokens each, in the order group, row, token. The rows of
/// a group share the keys and values of its prefix, which are held once.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Number of groups.
    pub groups: usize,
    /// Number of sequences in each group.
    pub rows: usize,
    /// Number of new tokens of each sequence.
    pub len: usize,
    /// Keys and values of earlier tokens; the new tokens' are added.
    pub cache: KvCache,
}

impl Segment {
    /// Prompts of equal length with nothing before them.
    pub fn prompts(count: usize, len: usize) -> Self {
        Self {
            groups: count,
            rows: 1,
            len,
            cache: KvCache::default(),
        }
    }

    /// The number of new tokens of all its sequences.
    pub fn tokens(&self) -> usize {
        self.groups * self.rows * self.len
    }
}

impl Segment {
    /// The segment of these groups alone, in this order.
    #[must_use]
    pub fn select_groups(&self, groups: &[usize]) -> Self {
        let rows = |group: &usize| group * self.rows..(group + 1) * self.rows;
        let own: Vec<usize> = groups.iter().flat_map(rows).collect();
        let cache = self
            .cache
            .pick(|side| pick(side, groups), |side| pick(side, &own));
        Self {
            groups: groups.len(),
            cache,
            ..*self
        }
    }

    /// The segment with these rows of each group alone, in this order; prefixes are shared with the
    /// segment, not copied.
    #[must_use]
    pub fn select_rows(&self, rows: &[usize]) -> Self {
        let of = |group: usize| rows.iter().map(move |row| group * self.rows + row);
        let own: Vec<usize> = (0..self.groups).flat_map(of).collect();
        let cache = self.cache.pick(Tensor::clone, |side| pick(side, &own));
        Self {
            rows: rows.len(),
            cache,
            ..*self
        }
    }

    /// A segment for each group; keys and values are shared with the segment where the backend has
    /// views.
    #[must_use]
    pub fn split_groups(self) -> Vec<Self> {
        if self.groups == 1 {
            return vec![self];
        }
        let groups = 0..self.groups;
        let one = |group: usize| Self {
            groups: 1,
            cache: self.cache.pick(
                |side| side.clone().narrow(0, group, 1),
                |side| side.clone().narrow(0, group * self.rows, self.rows),
            ),
            ..self
        };
        groups.map(one).collect()
    }
}

fn pick(tensor: &Tensor<3>, indices: &[usize]) -> Tensor<3> {
    let index = index_tensor(
        indices.iter().map(|&i| i as i64).collect(),
        &tensor.device(),
    );
    tensor.clone().select(0, index)
}
