//! Attention without copies: blocks of queries against keys and values where they lie.
//!
//! A block's scores are made, turned into probabilities and multiplied with the values while they
//! are in the processor's cache; keys after a block are left out. Blocks run in parallel.

mod groups;
mod job;
mod runs;

use rayon::prelude::*;

use crate::Heads;

pub use groups::{Grouped, Segments, attend};
use job::{Job, Part, Rows, Run, Scratch};

/// Rows of queries that a block has, over all query heads of a key head.
const BLOCK: usize = 256;

/// Queries of one block.
fn block(heads: Heads) -> usize {
    (BLOCK / heads.per_kv().max(1)).max(1)
}

/// Runs jobs, in parallel where there are several; `out` holds their results one after another,
/// `kept`, if wanted, their probabilities.
fn run(heads: Heads, jobs: &[Job<'_>], mut out: &mut [f32], mut kept: Option<&mut [f32]>) {
    let width = heads.query * heads.dim;
    let mut work = Vec::with_capacity(jobs.len());
    for job in jobs {
        let (own, rest) = out.split_at_mut(job.tokens() * width);
        out = rest;
        let own_kept = kept.take().map(|all| {
            let (own, rest) = all.split_at_mut(job.probabilities(heads));
            kept = Some(rest);
            own
        });
        work.push((job, own, own_kept));
    }
    if work.len() < 2 {
        let mut scratch = Scratch::default();
        for (job, out, kept) in work {
            job.forward(heads, &mut scratch, out, kept);
        }
        return;
    }
    work.into_par_iter()
        .for_each_init(Scratch::default, |scratch, (job, out, kept)| {
            job.forward(heads, scratch, out, kept);
        });
}

/// The numbers of all probabilities of jobs.
fn probabilities(heads: Heads, jobs: &[Job<'_>]) -> usize {
    jobs.iter().map(|job| job.probabilities(heads)).sum()
}
