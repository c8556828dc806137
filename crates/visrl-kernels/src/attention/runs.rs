//! Attention of tokens to all tokens of their own run, for vision towers.

use burn::tensor::Shape;
use rayon::prelude::*;

use super::job::{HeadGradients, backward};
use super::{Job, Part, Rows, Run, block, probabilities, run};
use crate::Heads;
use crate::SelfAttention;
use crate::flex::{self, Fused, Host};
use crate::product::Threads;
use crate::slices;

impl SelfAttention {
    fn shape(&self, width: usize) -> Heads {
        Heads {
            query: self.heads,
            kv: self.heads,
            dim: width / self.heads.max(1),
        }
    }

    /// Blocks of queries, run by run, for queries, keys and values side by side.
    fn jobs<'a>(&self, qkv: &'a Host) -> Vec<Vec<Job<'a>>> {
        let stride = flex::width(qkv);
        let width = stride / 3;
        let size = block(self.shape(width)).min(128);
        let data = flex::read(qkv);
        let side = |part: usize, token: usize| Rows {
            data: &data[(token * stride + part * width).min(data.len())..],
            stride,
        };
        let mut start = 0;
        let runs = self.sizes.iter().map(|&len| {
            let part = Part {
                keys: side(1, start),
                values: side(2, start),
                len,
            };
            let jobs = (0..len).step_by(size).map(|at| Job {
                queries: side(0, start + at),
                shared: None,
                runs: vec![Run {
                    count: size.min(len - at),
                    part,
                    causal: false,
                    first: 0,
                }],
            });
            let jobs = jobs.collect();
            start += len;
            jobs
        });
        runs.collect()
    }

    /// Turns queries and keys, in the memory of `qkv` where nobody else holds it.
    fn turned(&self, qkv: Host) -> Host {
        let mut qkv = flex::owned(qkv);
        let row = flex::width(&qkv);
        let width = row / 3;
        slices::rows1(
            row,
            qkv.storage_mut(),
            #[inline(always)]
            |first, rows| {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                    self.turn.turn_row(token, &mut row[..2 * width], 1.0);
                }
            },
        );
        qkv
    }

    fn saving(&self, qkv: Host, keep: bool) -> (Host, (Host, Host)) {
        let qkv = self.turned(qkv);
        let row = flex::width(&qkv);
        let heads = self.shape(row / 3);
        let jobs: Vec<_> = self.jobs(&qkv).into_iter().flatten().collect();
        let tokens = flex::read(&qkv).len() / row.max(1);
        let mut out = vec![0.0; tokens * row / 3];
        let mut kept = vec![0.0; if keep { probabilities(heads, &jobs) } else { 0 }];
        run(heads, &jobs, &mut out, keep.then_some(&mut kept));
        let len = kept.len();
        let out = flex::from_vec(out, Shape::from(vec![tokens, row / 3]));
        (out, (qkv, flex::from_vec(kept, Shape::from(vec![len]))))
    }
}

impl Fused<1> for SelfAttention {
    /// Queries and keys (turned) and values side by side, and the probabilities, block by block.
    type Saved = (Host, Host);

    fn forward(&self, [qkv]: [Host; 1]) -> Host {
        self.saving(qkv, false).0
    }

    fn forward_saving(&self, [qkv]: [Host; 1]) -> (Host, Self::Saved) {
        self.saving(qkv, true)
    }

    fn backward(&self, (qkv, kept): Self::Saved, grad: Host, _: [bool; 1]) -> [Host; 1] {
        let grad = flex::in_order(grad);
        let row = flex::width(&qkv);
        let width = row / 3;
        let heads = self.shape(width);
        let mut kept = flex::read(&kept);
        let mut at = Rows {
            data: flex::read(&grad),
            stride: width,
        };
        let sets: Vec<Vec<_>> = self
            .jobs(&qkv)
            .into_iter()
            .map(|jobs| {
                let set = jobs.into_iter().map(|job| {
                    let (own, rest) = kept.split_at(job.probabilities(heads));
                    kept = rest;
                    let grads = at;
                    at = at.skip(job.tokens());
                    (job, own, grads)
                });
                set.collect()
            })
            .collect();
        let tasks = sets.len() * heads.kv;
        let threads = match tasks < rayon::current_num_threads() {
            true => Threads::All,
            false => Threads::One,
        };
        let found: Vec<HeadGradients> = (0..tasks)
            .into_par_iter()
            .map(|task| {
                let (run, head) = (task / heads.kv, task % heads.kv);
                backward(heads, head, &sets[run], self.sizes[run], threads)
            })
            .collect();
        // The run of each token, and its place there.
        let places: Vec<(usize, usize)> = self
            .sizes
            .iter()
            .enumerate()
            .flat_map(|(run, &len)| (0..len).map(move |token| (run, token)))
            .collect();
        let mut out = vec![0.0; places.len() * row];
        let dim = heads.dim;
        slices::rows1(
            row.max(1),
            &mut out,
            #[inline(always)]
            |first, rows| {
                for (token, row) in (first..).zip(rows.chunks_exact_mut(row)) {
                    let (run, place) = places[token];
                    for (head, found) in found[run * heads.kv..][..heads.kv].iter().enumerate() {
                        let [d_keys, d_values] = &found.own;
                        for (part, from) in
                            [&found.queries, d_keys, d_values].into_iter().enumerate()
                        {
                            let at = part * width + head * dim;
                            row[at..at + dim]
                                .copy_from_slice(&from[place * dim..(place + 1) * dim]);
                        }
                    }
                    self.turn.turn_row(token, &mut row[..2 * width], -1.0);
                }
            },
        );
        [flex::from_vec(out, Shape::from(vec![places.len(), row]))]
    }
}
