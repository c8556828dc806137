//! Attention of some queries to keys and values that lie anywhere in memory.

use super::rows::{KeyValues, StridedRows, view};
use crate::heads::Heads;
use crate::product::{Threads, product};
use crate::simd::{self, exp};

/// Neighbouring queries of one sequence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSpan<'a> {
    /// How many.
    pub(crate) count: usize,
    /// What they see of their own sequence.
    pub(crate) part: KeyValues<'a>,
    /// Whether the last query stands at the last key and each sees what is before it; else all see
    /// all.
    pub(crate) causal: bool,
    /// The place of the part's first row among the rows that get gradients.
    pub(crate) first: usize,
}

impl RowSpan<'_> {
    /// The keys of its own part that query `index` sees.
    pub(super) fn visible(&self, index: usize) -> usize {
        match self.causal {
            true => self.part.len - self.count + index + 1,
            false => self.part.len,
        }
    }
}

/// Neighbouring queries that share a prefix, a unit of work.
#[derive(Clone, Debug)]
pub(crate) struct QueryBlock<'a> {
    /// The first query and those after it.
    pub(crate) queries: StridedRows<'a>,
    /// What all queries see.
    pub(crate) shared: Option<KeyValues<'a>>,
    /// The sequences of the queries, in order.
    pub(crate) spans: Vec<RowSpan<'a>>,
}

/// Memory that blocks use one after another.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(super) queries: Vec<f32>,
    pub(super) grads: Vec<f32>,
    pub(super) scores: Vec<f32>,
    mixed: Vec<f32>,
}

/// The first numbers of a buffer, which grows where it has to.
pub(super) fn resized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}

impl QueryBlock<'_> {
    /// The number of queries.
    pub(crate) fn tokens(&self) -> usize {
        self.spans.iter().map(|span| span.count).sum()
    }

    pub(super) fn shared_len(&self) -> usize {
        self.shared.map_or(0, |part| part.len)
    }

    /// The width of a row of scores.
    pub(super) fn columns(&self) -> usize {
        let own = self.spans.iter().map(|span| span.part.len).max();
        self.shared_len() + own.unwrap_or(0)
    }

    /// The number of probabilities of one key head.
    pub(super) fn size(&self, heads: Heads) -> usize {
        self.tokens() * heads.per_kv() * self.columns()
    }

    /// The number of probabilities of all heads.
    pub(crate) fn probabilities(&self, heads: Heads) -> usize {
        self.size(heads) * heads.kv
    }

    /// The rows of one key head, `[tokens * per_kv, dim]`, scaled.
    pub(super) fn gather(
        &self,
        from: StridedRows<'_>,
        heads: Heads,
        kv: usize,
        scale: f32,
        to: &mut [f32],
    ) {
        let width = heads.per_kv() * heads.dim;
        let sources = from.data.chunks(from.stride);
        for (to, from) in to.chunks_exact_mut(width).zip(sources) {
            for (to, x) in to.iter_mut().zip(&from[kv * width..(kv + 1) * width]) {
                *to = x * scale;
            }
        }
    }

    /// For each span: its first row and its rows in the matrices of a key head.
    pub(super) fn rows(&self, heads: Heads) -> impl Iterator<Item = (usize, usize, &RowSpan<'_>)> {
        let per_kv = heads.per_kv();
        let mut row = 0;
        self.spans.iter().map(move |span| {
            let rows = span.count * per_kv;
            row += rows;
            (row - rows, rows, span)
        })
    }

    /// Writes `softmax(q k^T / sqrt(dim)) v` to `out`, `[tokens, query heads * dim]`, and the
    /// probabilities, where they are wanted, to `kept`.
    pub(crate) fn forward(
        &self,
        heads: Heads,
        scratch: &mut Scratch,
        out: &mut [f32],
        mut kept: Option<&mut [f32]>,
    ) {
        let Heads { dim, .. } = heads;
        let rows = self.tokens() * heads.per_kv();
        let (columns, shared) = (self.columns(), self.shared_len());
        let size = self.size(heads);
        let queries = resized(&mut scratch.queries, rows * dim);
        let mixed = resized(&mut scratch.mixed, rows * dim);
        for kv in 0..heads.kv {
            self.gather(self.queries, heads, kv, heads.scale(), queries);
            let scores = match &mut kept {
                Some(kept) => &mut kept[kv * size..(kv + 1) * size],
                None => resized(&mut scratch.scores, size),
            };
            self.scores(queries, heads, kv, Threads::One, |part| part.keys, scores);
            simd::vectorized(
                #[inline(always)]
                || self.softmax(heads.per_kv(), scores),
            );
            if let Some(part) = &self.shared {
                let weights = view(scores, rows, shared, columns);
                let values = part.values.head(shared, kv, dim);
                product(weights, values, mixed, dim, false, Threads::One);
            }
            for (row, rows, span) in self.rows(heads) {
                let weights = &scores[row * columns + shared..];
                let weights = view(weights, rows, span.part.len, columns);
                let values = span.part.values.head(span.part.len, kv, dim);
                let add = self.shared.is_some();
                let mixed = &mut mixed[row * dim..];
                product(weights, values, mixed, dim, add, Threads::One);
            }
            let width = heads.per_kv() * dim;
            let all = heads.query * dim;
            for (from, to) in mixed.chunks_exact(width).zip(out.chunks_exact_mut(all)) {
                to[kv * width..(kv + 1) * width].copy_from_slice(from);
            }
        }
    }

    /// Products of rows with the keys, or the values, that they see: shared first, then own.
    pub(super) fn scores(
        &self,
        rows_of: &[f32],
        heads: Heads,
        kv: usize,
        threads: Threads,
        side: impl for<'b> Fn(&KeyValues<'b>) -> StridedRows<'b>,
        scores: &mut [f32],
    ) {
        let dim = heads.dim;
        let (columns, shared) = (self.columns(), self.shared_len());
        if let Some(part) = &self.shared {
            let rows = view(rows_of, rows_of.len() / dim, dim, dim);
            let keys = side(part).head(shared, kv, dim).transposed();
            product(rows, keys, scores, columns, false, threads);
        }
        for (row, rows, span) in self.rows(heads) {
            let rows = view(&rows_of[row * dim..], rows, dim, dim);
            let keys = side(&span.part).head(span.part.len, kv, dim).transposed();
            let scores = &mut scores[row * columns + shared..];
            product(rows, keys, scores, columns, false, threads);
        }
    }

    /// Turns scores into probabilities; those of keys that are not seen are 0.
    #[inline(always)]
    fn softmax(&self, per_kv: usize, scores: &mut [f32]) {
        let (columns, shared) = (self.columns(), self.shared_len());
        let mut rows = scores.chunks_exact_mut(columns.max(1));
        for span in &self.spans {
            for index in 0..span.count {
                for row in rows.by_ref().take(per_kv) {
                    let (seen, hidden) = row.split_at_mut(shared + span.visible(index));
                    hidden.fill(0.0);
                    let largest = simd::maximum(seen);
                    let sum = simd::map_and_sum(
                        seen,
                        #[inline(always)]
                        |x| exp(x - largest),
                    );
                    let scale = 1.0 / sum;
                    for x in seen {
                        *x *= scale;
                    }
                }
            }
        }
    }
}
