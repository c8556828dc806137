//! Attention of rows to the prefix that their group shares and to their own tokens.

use burn::tensor::{Shape, Tensor};
use rayon::prelude::*;

use super::job::{HeadGradients, backward};
use super::{Job, Part, Rows, Run, block, probabilities, run};
use crate::Heads;
use crate::flex::{self, Fused, Host};
use crate::product::Threads;
use crate::slices;

/// Rows of queries that a block has when each row of a group gets one token.
const DECODED: usize = 16;

/// The shape of a segment and where its keys and values are.
#[derive(Clone, Copy, Debug)]
struct Layout<'a> {
    groups: usize,
    rows: usize,
    /// New tokens of a row.
    len: usize,
    /// `[groups, prefix, kv heads * dim]`.
    prefix: Option<Part<'a>>,
    /// `[groups * rows, own.len, kv heads * dim]`, the rows `capacity` tokens apart.
    own: Part<'a>,
    capacity: usize,
}

impl<'a> Layout<'a> {
    /// Blocks of a group's queries, group by group. `queries` begins with the segment's own.
    fn jobs(&self, heads: Heads, queries: Rows<'a>) -> Vec<Vec<Job<'a>>> {
        let past = self.own.len - self.len;
        let per_group = self.rows * self.len;
        // Blocks depend on the group alone, so that its result does, too.
        let size = match self.len {
            1 => (DECODED / heads.per_kv().max(1)).max(1),
            _ => block(heads),
        };
        let group = |group: usize| {
            let shared = self.prefix.map(|part| Part {
                keys: part.keys.skip(group * part.len),
                values: part.values.skip(group * part.len),
                ..part
            });
            let job = |start: usize| {
                let end = (start + size).min(per_group);
                let mut runs = Vec::new();
                let mut at = start;
                while at < end {
                    let (row, token) = (at / self.len, at % self.len);
                    let count = (self.len - token).min(end - at);
                    let first = (group * self.rows + row) * self.capacity;
                    let part = Part {
                        keys: self.own.keys.skip(first),
                        values: self.own.values.skip(first),
                        len: past + token + count,
                    };
                    runs.push(Run {
                        count,
                        part,
                        causal: true,
                        first: row * self.len,
                    });
                    at += count;
                }
                Job {
                    queries: queries.skip(group * per_group + start),
                    shared,
                    runs,
                }
            };
            (0..per_group).step_by(size).map(job).collect()
        };
        (0..self.groups).map(group).collect()
    }
}

/// One segment's share of [`attend`]: its shape and the tensors of its cache.
pub struct Segments<'a> {
    /// Groups, each with a prefix of its own.
    pub groups: usize,
    /// Rows of each group.
    pub rows: usize,
    /// New tokens of each row.
    pub len: usize,
    /// Keys and values that the rows of a group share, `[groups, prefix, kv heads * dim]`.
    pub prefix: Option<&'a [Tensor<3>; 2]>,
    /// `[groups * rows, capacity, kv heads * dim]`, of which `own_len` tokens are there.
    pub own: &'a [Tensor<3>; 2],
    /// Tokens that each row has of its own, the new ones among them.
    pub own_len: usize,
}

/// Keys and values in host memory, in order.
struct Host3 {
    pair: [Host; 2],
    /// Length of the second axis.
    len: usize,
}

impl Host3 {
    fn of(pair: &[Tensor<3>; 2]) -> Option<Self> {
        let [keys, values] = pair.each_ref().map(flex::plain);
        Some(Self {
            pair: [flex::in_order(keys?), flex::in_order(values?)],
            len: pair[0].dims()[1],
        })
    }

    fn part(&self, width: usize, len: usize) -> Part<'_> {
        let [keys, values] = self.pair.each_ref().map(|side| Rows {
            data: flex::read(side),
            stride: width,
        });
        Part { keys, values, len }
    }
}

/// Attention of the new tokens of segments, one after another in `queries`
/// `[tokens, query heads * dim]`; nothing where a tensor is not plain f32 in host memory.
pub fn attend(heads: Heads, segments: &[Segments<'_>], queries: &Tensor<2>) -> Option<Tensor<2>> {
    let queries = flex::in_order(flex::plain(queries)?);
    let width = heads.query * heads.dim;
    let rows = Rows {
        data: flex::read(&queries),
        stride: width,
    };
    let mut hosts = Vec::with_capacity(segments.len());
    for segment in segments {
        let prefix = match segment.prefix {
            Some(pair) => Some(Host3::of(pair)?),
            None => None,
        };
        hosts.push((prefix, Host3::of(segment.own)?));
    }
    let mut start = 0;
    let mut jobs = Vec::new();
    for (segment, (prefix, own)) in segments.iter().zip(&hosts) {
        let kv = heads.kv * heads.dim;
        let layout = Layout {
            groups: segment.groups,
            rows: segment.rows,
            len: segment.len,
            prefix: prefix.as_ref().map(|host| host.part(kv, host.len)),
            own: own.part(kv, segment.own_len),
            capacity: own.len,
        };
        jobs.extend(layout.jobs(heads, rows.skip(start)).into_iter().flatten());
        start += segment.groups * segment.rows * segment.len;
    }
    let mut out = vec![0.0; start * width];
    run(heads, &jobs, &mut out, None);
    Some(flex::tensor(flex::from_vec(
        out,
        Shape::from(vec![start, width]),
    )))
}

/// Attention of a segment whose rows have no earlier tokens of their own: queries, keys and values,
/// and the prefix's keys and values `[groups, prefix, kv heads * dim]` where there is one.
#[derive(Clone, Copy, Debug)]
pub struct Grouped {
    /// Numbers of heads.
    pub heads: Heads,
    /// Groups, each with a prefix of its own.
    pub groups: usize,
    /// Rows of each group.
    pub rows: usize,
    /// Tokens of each row.
    pub len: usize,
}

impl Grouped {
    /// The attention, recorded for a backward pass.
    ///
    /// # Errors
    /// The inputs, where they are not f32 in host memory.
    pub fn apply<const N: usize>(
        self,
        inputs: [burn::backend::DispatchTensor; N],
    ) -> Result<Tensor<2>, [burn::backend::DispatchTensor; N]>
    where
        Self: Fused<N>,
    {
        flex::run(&self, inputs)
    }

    fn layout<'a>(
        &self,
        [keys, values]: [&'a Host; 2],
        prefix: Option<[&'a Host; 2]>,
    ) -> Layout<'a> {
        let stride = self.heads.kv * self.heads.dim;
        let part = |[keys, values]: [&'a Host; 2], len: usize| Part {
            keys: Rows {
                data: flex::read(keys),
                stride,
            },
            values: Rows {
                data: flex::read(values),
                stride,
            },
            len,
        };
        let prefix = prefix.map(|pair| {
            let all = flex::read(pair[0]).len() / stride.max(1);
            part(pair, all / self.groups.max(1))
        });
        Layout {
            groups: self.groups,
            rows: self.rows,
            len: self.len,
            prefix,
            own: part([keys, values], self.len),
            capacity: self.len,
        }
    }

    fn rows<'a>(&self, side: &'a Host) -> Rows<'a> {
        Rows {
            data: flex::read(side),
            stride: self.heads.query * self.heads.dim,
        }
    }

    fn saving<const N: usize>(&self, inputs: [Host; N], keep: bool) -> (Host, Kept<N>) {
        let inputs = inputs.map(flex::in_order);
        let pairs = Pairs::of(&inputs);
        let layout = self.layout(pairs.own, pairs.prefix);
        let jobs: Vec<_> = layout
            .jobs(self.heads, self.rows(&inputs[0]))
            .into_iter()
            .flatten()
            .collect();
        let width = self.heads.query * self.heads.dim;
        let tokens = self.groups * self.rows * self.len;
        let mut out = vec![0.0; tokens * width];
        let mut kept = vec![
            0.0;
            if keep {
                probabilities(self.heads, &jobs)
            } else {
                0
            }
        ];
        run(self.heads, &jobs, &mut out, keep.then_some(&mut kept));
        let out = flex::from_vec(out, Shape::from(vec![tokens, width]));
        let len = kept.len();
        let kept = flex::from_vec(kept, Shape::from(vec![len]));
        (out, Kept { inputs, kept })
    }

    fn gradients<const N: usize>(&self, saved: &Kept<N>, grad: Host) -> [Host; N] {
        let grad = flex::in_order(grad);
        let heads = self.heads;
        let pairs = Pairs::of(&saved.inputs);
        let layout = self.layout(pairs.own, pairs.prefix);
        let prefix = layout.prefix.map_or(0, |part| part.len);
        let jobs = layout.jobs(heads, self.rows(&saved.inputs[0]));
        let mut kept = flex::read(&saved.kept);
        let mut at = self.rows(&grad);
        let sets: Vec<Vec<_>> = jobs
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
        let own_rows = self.rows * self.len;
        let tasks = self.groups * heads.kv;
        let threads = match tasks < rayon::current_num_threads() {
            true => Threads::All,
            false => Threads::One,
        };
        let found: Vec<HeadGradients> = (0..tasks)
            .into_par_iter()
            .map(|task| {
                let (group, kv) = (task / heads.kv, task % heads.kv);
                backward(heads, kv, &sets[group], own_rows, threads)
            })
            .collect();
        let tokens = self.groups * own_rows;
        // Key heads side by side again.
        let join = |rows: usize, width: usize, side: &(dyn Fn(&HeadGradients) -> &[f32] + Sync)| {
            let all = heads.kv * width;
            let mut out = vec![0.0; self.groups * rows * all];
            slices::rows1(all.max(1), &mut out, |first, out| {
                for (index, out) in (first..).zip(out.chunks_exact_mut(all)) {
                    let (group, row) = (index / rows, index % rows);
                    for (kv, out) in out.chunks_exact_mut(width).enumerate() {
                        let from = side(&found[group * heads.kv + kv]);
                        out.copy_from_slice(&from[row * width..(row + 1) * width]);
                    }
                }
            });
            out
        };
        let dim = heads.dim;
        let queries = join(own_rows, heads.per_kv() * dim, &|found| &found.queries);
        let of_own = [0, 1].map(|i| join(own_rows, dim, &move |found| &found.own[i]));
        let kv = heads.kv * dim;
        let matrix = |values, width| flex::from_vec(values, Shape::from(vec![tokens, width]));
        let mut out = vec![matrix(queries, heads.query * dim)];
        out.extend(of_own.map(|values| matrix(values, kv)));
        if pairs.prefix.is_some() {
            let shape = vec![self.groups, prefix, kv];
            let of_prefix = [0, 1].map(|i| join(prefix, dim, &move |found| &found.shared[i]));
            out.extend(of_prefix.map(|values| flex::from_vec(values, Shape::from(shape.clone()))));
        }
        let mut out = out.into_iter();
        std::array::from_fn(|_| {
            out.next()
                .unwrap_or_else(|| flex::from_vec(Vec::new(), Shape::from(vec![0])))
        })
    }
}

/// Queries, keys and values, and a prefix's keys and values, or none.
struct Pairs<'a> {
    own: [&'a Host; 2],
    prefix: Option<[&'a Host; 2]>,
}

impl<'a> Pairs<'a> {
    fn of<const N: usize>(inputs: &'a [Host; N]) -> Self {
        Self {
            own: [&inputs[1], &inputs[2]],
            prefix: (N == 5).then(|| [&inputs[N - 2], &inputs[N - 1]]),
        }
    }
}

/// What the gradient needs: the inputs and the probabilities, block by block.
#[derive(Clone, Debug)]
pub struct Kept<const N: usize> {
    inputs: [Host; N],
    kept: Host,
}

macro_rules! fused {
    ($n:literal) => {
        impl Fused<$n> for Grouped {
            type Saved = Kept<$n>;

            fn forward(&self, inputs: [Host; $n]) -> Host {
                self.saving(inputs, false).0
            }

            fn forward_saving(&self, inputs: [Host; $n]) -> (Host, Self::Saved) {
                self.saving(inputs, true)
            }

            fn backward(&self, saved: Self::Saved, grad: Host, _: [bool; $n]) -> [Host; $n] {
                self.gradients(&saved, grad)
            }
        }
    };
}

fused!(3);
fused!(5);
