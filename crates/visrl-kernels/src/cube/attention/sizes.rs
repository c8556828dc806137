//! Which queries see which keys.

use burn::backend::TensorMetadata;
use cubecl::prelude::*;

use super::tiles::{ROOMS, TILE, shared_numbers};
use crate::cube::tensors::{CubeTensor, whole};
use crate::heads::Heads;

/// Numbers of a [`Span`] on the device.
pub(crate) const SPAN: usize = 7;

/// The new tokens of a sequence and the keys that they see.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    /// The row of its first query.
    pub(crate) query: usize,
    /// New tokens.
    pub(crate) len: usize,
    /// The row of its first key.
    pub(crate) own: usize,
    /// Its keys.
    pub(crate) own_len: usize,
    /// Keys before that of the first new token; so many that it sees all, where nothing is masked.
    pub(crate) past: usize,
    /// The row of the first key of its prefix.
    pub(crate) prefix: usize,
    /// Keys of its prefix.
    pub(crate) prefix_len: usize,
}

/// The spans of all sequences.
#[derive(Clone, Debug)]
pub(crate) struct Spans {
    /// `[sequences, SPAN]`.
    pub(crate) table: CubeTensor,
    pub(crate) sequences: usize,
    /// The most new tokens, keys of its own and keys of its prefix that a sequence has.
    pub(crate) longest: [usize; 3],
}

impl Spans {
    /// On the device of `like`.
    pub(crate) fn new(spans: &[Span], like: &CubeTensor) -> Self {
        let numbers = spans.iter().flat_map(|span| {
            let Span {
                query,
                len,
                own,
                own_len,
                past,
                prefix,
                prefix_len,
            } = *span;
            [query, len, own, own_len, past, prefix, prefix_len].map(|number| number as u32)
        });
        let numbers: Vec<u32> = numbers.collect();
        let longest = |of: fn(&Span) -> usize| spans.iter().map(of).max().unwrap_or(0);
        Self {
            table: whole(like, &numbers),
            sequences: spans.len(),
            longest: [
                longest(|span| span.len),
                longest(|span| span.own_len),
                longest(|span| span.prefix_len),
            ],
        }
    }
}

/// Keys and values as rows: of prefixes where there are some, and of sequences.
#[derive(Clone, Debug)]
pub(crate) struct Sides {
    pub(crate) own: [CubeTensor; 2],
    pub(crate) prefix: Option<[CubeTensor; 2]>,
}

/// Heads, and the columns in which those of queries, keys and values begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) heads: Heads,
    pub(crate) columns: [usize; 3],
}

/// What kernels are told of sizes.
#[derive(CubeLaunch, CubeType)]
pub(crate) struct Sizes {
    pub(crate) sequences: usize,
    /// Tiles of each sequence.
    pub(crate) tiles: usize,
    pub(crate) dim: usize,
    pub(crate) query_heads: usize,
    pub(crate) per_kv: usize,
    pub(crate) query_column: usize,
    pub(crate) key_column: usize,
    pub(crate) value_column: usize,
    /// What products of queries and keys are multiplied with.
    pub(crate) scale: f32,
}

impl Layout {
    pub(crate) fn sizes(&self, sequences: usize, tiles: usize) -> SizesLaunch {
        let Heads { query, dim, .. } = self.heads;
        let [of_queries, of_keys, of_values] = self.columns;
        SizesLaunch::new(
            sequences,
            tiles,
            dim,
            query,
            self.heads.per_kv(),
            of_queries,
            of_keys,
            of_values,
            1.0 / (dim as f32).sqrt(),
        )
    }

    /// Tiles of the query rows of this many tokens.
    pub(crate) fn query_tiles(&self, tokens: usize) -> usize {
        (tokens * self.heads.per_kv()).div_ceil(TILE)
    }

    /// Numbers that a row of a tile has room for.
    pub(crate) fn room(&self) -> usize {
        let fits = |room: &&usize| self.heads.dim <= **room;
        ROOMS.iter().find(fits).copied().unwrap_or(self.heads.dim)
    }
}

/// Whether there are kernels for heads of this width where a tensor lies.
pub(crate) fn fits(heads: Heads, like: &CubeTensor) -> bool {
    let room = ROOMS.iter().find(|&&room| heads.dim <= room);
    let hardware = &like.client.properties().hardware;
    let numbers = like.shape().num_elements() > 0 && heads.kv > 0 && heads.query % heads.kv == 0;
    numbers
        && hardware.max_bindings >= 10
        && room.is_some_and(|&room| shared_numbers(room) * 4 <= hardware.max_shared_memory_size)
}
