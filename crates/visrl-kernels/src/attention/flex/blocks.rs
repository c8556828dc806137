//! Blocks of queries: how large they are, and all of them in parallel.

use rayon::prelude::*;

use super::query_block::{QueryBlock, Scratch};
use crate::heads::Heads;

/// Rows of queries that a block has, over all query heads of a key head.
const BLOCK: usize = 256;

/// Queries of one block.
pub(crate) fn block_size(heads: Heads) -> usize {
    (BLOCK / heads.per_kv().max(1)).max(1)
}

/// Attention of blocks, in parallel where there are several; `out` holds their results one after
/// another, `kept`, if wanted, their probabilities.
pub(crate) fn run_blocks(
    heads: Heads,
    blocks: &[QueryBlock<'_>],
    mut out: &mut [f32],
    mut kept: Option<&mut [f32]>,
) {
    let width = heads.query * heads.dim;
    let mut work = Vec::with_capacity(blocks.len());
    for block in blocks {
        let (own, rest) = out.split_at_mut(block.tokens() * width);
        out = rest;
        let own_kept = kept.take().map(|all| {
            let (own, rest) = all.split_at_mut(block.probabilities(heads));
            kept = Some(rest);
            own
        });
        work.push((block, own, own_kept));
    }
    if work.len() < 2 {
        let mut scratch = Scratch::default();
        for (block, out, kept) in work {
            block.forward(heads, &mut scratch, out, kept);
        }
        return;
    }
    work.into_par_iter()
        .for_each_init(Scratch::default, |scratch, (block, out, kept)| {
            block.forward(heads, scratch, out, kept);
        });
}

/// The numbers of all probabilities of blocks.
pub(crate) fn probabilities(heads: Heads, blocks: &[QueryBlock<'_>]) -> usize {
    blocks.iter().map(|block| block.probabilities(heads)).sum()
}
