//! Gradients of attention, one key head at a time.

use rayon::prelude::*;

use super::query_block::{QueryBlock, Scratch, resized};
use super::rows::{StridedRows, view};
use crate::heads::Heads;
use crate::product::{Threads, product};
use crate::simd;

/// Gradients of one key head, `[rows, dim]` each.
pub(crate) struct HeadGradients {
    /// Of the queries, in the order block, query, query head.
    pub(crate) queries: Vec<f32>,
    /// Of the shared keys and values.
    pub(crate) shared: [Vec<f32>; 2],
    /// Of the sequences' own keys and values.
    pub(crate) own: [Vec<f32>; 2],
}

impl QueryBlock<'_> {
    /// With `p` the probabilities, turns `d p` into the scores' gradients `p (d p - sum(p d p))`.
    #[inline(always)]
    fn softmax_backward(&self, per_kv: usize, probabilities: &[f32], grads: &mut [f32]) {
        let (columns, shared) = (self.columns(), self.shared_len());
        let both = grads.chunks_exact_mut(columns.max(1));
        let mut both = both.zip(probabilities.chunks_exact(columns.max(1)));
        for span in &self.spans {
            for index in 0..span.count {
                let seen = shared + span.visible(index);
                for (d, p) in both.by_ref().take(per_kv) {
                    let (d, hidden) = d.split_at_mut(seen);
                    hidden.fill(0.0);
                    let p = &p[..seen];
                    let dot = simd::sum_of_pairs(
                        d,
                        p,
                        #[inline(always)]
                        |d, p| d * p,
                    );
                    for (d, p) in d.iter_mut().zip(p) {
                        *d = p * (*d - dot);
                    }
                }
            }
        }
    }
}

/// The gradients of all key heads for sets of blocks, one set for each prefix: set by set, head by
/// head.
///
/// `kept` are the blocks' probabilities, one after another, and `grads` the gradients of their
/// results; `own_rows` tells the rows that the spans' own keys of a set have together.
pub(crate) fn backward(
    heads: Heads,
    sets: Vec<Vec<QueryBlock<'_>>>,
    mut kept: &[f32],
    mut grads: StridedRows<'_>,
    own_rows: impl Fn(usize) -> usize + Sync,
) -> Vec<HeadGradients> {
    let mut shares = Vec::with_capacity(sets.len());
    for set in sets {
        let mut of_set = Vec::with_capacity(set.len());
        for block in set {
            let (own, rest) = kept.split_at(block.probabilities(heads));
            kept = rest;
            let own_grads = grads;
            grads = grads.skip(block.tokens());
            of_set.push((block, own, own_grads));
        }
        shares.push(of_set);
    }
    let tasks = shares.len() * heads.kv;
    let threads = match tasks < rayon::current_num_threads() {
        true => Threads::All,
        false => Threads::One,
    };
    (0..tasks)
        .into_par_iter()
        .map(|task| {
            let (set, kv) = (task / heads.kv, task % heads.kv);
            of_head(heads, kv, &shares[set], own_rows(set), threads)
        })
        .collect()
}

/// The gradients of one key head for blocks that share a prefix, or have none, from what `forward`
/// kept and the gradients of its results.
///
/// With P the probabilities, S the scores and O the result: `d v = P^T d O`, `d P = d O v^T`,
/// `d q = d S k` and `d k = d S^T q`. `own_rows` is the number of rows that the spans' own keys have
/// together.
fn of_head(
    heads: Heads,
    kv: usize,
    blocks: &[(QueryBlock<'_>, &[f32], StridedRows<'_>)],
    own_rows: usize,
    threads: Threads,
) -> HeadGradients {
    let (dim, per_kv) = (heads.dim, heads.per_kv());
    let tokens: usize = blocks.iter().map(|(block, ..)| block.tokens()).sum();
    let shared = blocks.first().map_or(0, |(block, ..)| block.shared_len());
    let pair = |rows: usize| [(); 2].map(|()| vec![0.0; rows * dim]);
    let mut out = HeadGradients {
        queries: vec![0.0; tokens * per_kv * dim],
        shared: pair(shared),
        own: pair(own_rows),
    };
    let mut scratch = Scratch::default();
    let mut done = 0;
    for (block, kept, grads) in blocks {
        let rows = block.tokens() * per_kv;
        let (columns, size) = (block.columns(), block.size(heads));
        let probabilities = &kept[kv * size..(kv + 1) * size];
        let queries = resized(&mut scratch.queries, rows * dim);
        block.gather(block.queries, heads, kv, heads.scale(), queries);
        let d_mixed = resized(&mut scratch.grads, rows * dim);
        block.gather(*grads, heads, kv, 1.0, d_mixed);
        let d_scores = resized(&mut scratch.scores, size);
        block.scores(d_mixed, heads, kv, threads, |part| part.values, d_scores);
        simd::vectorized(
            #[inline(always)]
            || block.softmax_backward(per_kv, probabilities, d_scores),
        );
        let d_queries = &mut out.queries[done * dim..(done + rows) * dim];
        done += rows;
        if let Some(part) = &block.shared {
            let [p, d] = [probabilities, &*d_scores].map(|of| view(of, rows, shared, columns));
            let [q, g] = [&*queries, &*d_mixed].map(|of| view(of, rows, dim, dim));
            let keys = part.keys.head(shared, kv, dim);
            product(d, keys, d_queries, dim, false, threads);
            let [d_keys, d_values] = &mut out.shared;
            product(d.transposed(), q, d_keys, dim, true, threads);
            product(p.transposed(), g, d_values, dim, true, threads);
        }
        for (row, rows, span) in block.rows(heads) {
            let (start, len) = (row * columns + shared, span.part.len);
            let [p, d] =
                [probabilities, &*d_scores].map(|of| view(&of[start..], rows, len, columns));
            let [q, g] = [&*queries, &*d_mixed].map(|of| view(&of[row * dim..], rows, dim, dim));
            let keys = span.part.keys.head(len, kv, dim);
            let add = block.shared.is_some();
            product(d, keys, &mut d_queries[row * dim..], dim, add, threads);
            let [d_keys, d_values] = &mut out.own;
            let at = span.first * dim;
            product(d.transposed(), q, &mut d_keys[at..], dim, true, threads);
            product(p.transposed(), g, &mut d_values[at..], dim, true, threads);
        }
        for x in d_queries {
            *x *= heads.scale();
        }
    }
    out
}
