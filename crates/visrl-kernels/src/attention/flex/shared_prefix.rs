//! Attention of a segment that is recorded, with its gradient.

use burn::backend::Flex;

use super::blocks::{probabilities, run_blocks};
use super::gradients::{HeadGradients, backward};
use super::query_block::QueryBlock;
use super::rows::{KeyValues, StridedRows};
use super::segments::SegmentLayout;
use crate::attention::shared_prefix::SharedPrefix;
use crate::flex::{self, Host};
use crate::forms::Fused;
use crate::parallel;

/// Queries, keys and values, and a prefix's keys and values, or none.
struct Sides<'a> {
    queries: &'a Host,
    own: [&'a Host; 2],
    prefix: Option<[&'a Host; 2]>,
}

impl<'a> Sides<'a> {
    fn of<const N: usize>(inputs: &'a [Host; N]) -> Self {
        Self {
            queries: &inputs[0],
            own: [&inputs[1], &inputs[2]],
            prefix: (N == 5).then(|| [&inputs[N - 2], &inputs[N - 1]]),
        }
    }
}

/// What the gradient needs: the inputs and the probabilities, block by block.
#[derive(Clone, Debug)]
pub(in crate::attention) struct Saved<const N: usize> {
    inputs: [Host; N],
    probabilities: Host,
}

impl SharedPrefix {
    fn layout<'a>(&self, sides: &Sides<'a>) -> SegmentLayout<'a> {
        let stride = self.heads.kv * self.heads.dim;
        let part = |pair: [&'a Host; 2], len: usize| {
            let [keys, values] = pair.map(|side| StridedRows {
                data: flex::read(side),
                stride,
            });
            KeyValues { keys, values, len }
        };
        let prefix = sides.prefix.map(|pair| {
            let all = flex::read(pair[0]).len() / stride.max(1);
            part(pair, all / self.groups.max(1))
        });
        SegmentLayout {
            groups: self.groups,
            rows: self.rows,
            len: self.len,
            prefix,
            own: part(sides.own, self.len),
            capacity: self.len,
        }
    }

    /// Rows of queries, or of results.
    fn rows<'a>(&self, side: &'a Host) -> StridedRows<'a> {
        StridedRows {
            data: flex::read(side),
            stride: self.heads.query * self.heads.dim,
        }
    }

    fn attend<const N: usize>(&self, inputs: [Host; N], keep: bool) -> (Host, Saved<N>) {
        let inputs = inputs.map(flex::in_order);
        let sides = Sides::of(&inputs);
        let sets = self
            .layout(&sides)
            .blocks(self.heads, self.rows(sides.queries));
        let blocks: Vec<QueryBlock<'_>> = sets.into_iter().flatten().collect();
        let width = self.heads.query * self.heads.dim;
        let tokens = self.groups * self.rows * self.len;
        let mut out = vec![0.0; tokens * width];
        let kept = match keep {
            true => probabilities(self.heads, &blocks),
            false => 0,
        };
        let mut kept = vec![0.0; kept];
        run_blocks(self.heads, &blocks, &mut out, keep.then_some(&mut kept));
        let len = kept.len();
        let probabilities = flex::from_vec(kept, [len]);
        let saved = Saved {
            inputs,
            probabilities,
        };
        (flex::from_vec(out, [tokens, width]), saved)
    }

    fn gradients<const N: usize>(&self, saved: &Saved<N>, grad: Host) -> [Option<Host>; N] {
        let grad = flex::in_order(grad);
        let heads = self.heads;
        let sides = Sides::of(&saved.inputs);
        let layout = self.layout(&sides);
        let prefix = layout.prefix.map_or(0, |part| part.len);
        let own_rows = self.rows * self.len;
        let found = backward(
            heads,
            layout.blocks(heads, self.rows(sides.queries)),
            flex::read(&saved.probabilities),
            self.rows(&grad),
            |_| own_rows,
        );
        // Key heads side by side again.
        let join = |rows: usize, width: usize, side: &(dyn Fn(&HeadGradients) -> &[f32] + Sync)| {
            let all = heads.kv * width;
            let mut out = vec![0.0; self.groups * rows * all];
            parallel::for_rows(all.max(1), &mut out, |first, out| {
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
        let (dim, kv) = (heads.dim, heads.kv * heads.dim);
        let tokens = self.groups * own_rows;
        let queries = join(own_rows, heads.per_kv() * dim, &|found| &found.queries);
        let queries = flex::from_vec(queries, [tokens, heads.query * dim]);
        let own = [0, 1].map(|i| {
            let values = join(own_rows, dim, &move |found| &found.own[i]);
            flex::from_vec(values, [self.groups * self.rows, self.len, kv])
        });
        let shared = sides.prefix.map(|_| {
            [0, 1].map(|i| {
                let values = join(prefix, dim, &move |found| &found.shared[i]);
                flex::from_vec(values, [self.groups, prefix, kv])
            })
        });
        let mut all = std::iter::once(queries)
            .chain(own)
            .chain(shared.into_iter().flatten());
        std::array::from_fn(|_| all.next())
    }
}

impl Fused<Flex, 3> for SharedPrefix {
    type Saved = Saved<3>;

    fn forward(&self, inputs: [Host; 3]) -> Host {
        self.attend(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Host; 3]) -> (Host, Saved<3>) {
        self.attend(inputs, true)
    }

    fn backward(&self, saved: Saved<3>, grad: Host, _: [bool; 3]) -> [Option<Host>; 3] {
        self.gradients(&saved, grad)
    }
}

impl Fused<Flex, 5> for SharedPrefix {
    type Saved = Saved<5>;

    fn forward(&self, inputs: [Host; 5]) -> Host {
        self.attend(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Host; 5]) -> (Host, Saved<5>) {
        self.attend(inputs, true)
    }

    fn backward(&self, saved: Saved<5>, grad: Host, _: [bool; 5]) -> [Option<Host>; 5] {
        self.gradients(&saved, grad)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use proptest::prelude::*;

    use super::*;
    use crate::attention::segment::Segment;
    use crate::attention::{op, plain};
    use crate::heads::Heads;
    use crate::testing::{compare, has_form};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn gradients_equal_those_of_the_plain_form(
            seed in 0u64..1000, per_kv in 1usize..4, kv in 1usize..3, dim in 1usize..12,
            [groups, rows, len] in [1usize..4, 1usize..4, 1usize..150], prefix in 1usize..40,
        ) {
            let heads = Heads { query: per_kv * kv, kv, dim };
            let tokens = groups * rows * len;
            let (all, width) = (heads.query * dim, kv * dim);
            let attend = |fused: bool, queries: Tensor<2>, own: [Tensor<2>; 2], prefix: Option<[Tensor<2>; 2]>| {
                let own = own.map(|side| side.reshape([groups * rows, len, width]));
                let prefix = prefix.map(|pair| pair.map(|side| side.reshape([groups as i32, -1, width as i32])));
                let segment = Segment {
                    groups, rows, len, prefix: prefix.as_ref(), own: &own, own_len: len,
                };
                match fused {
                    true => op::attend(heads, &[segment], queries),
                    false => plain::attend(heads, &segment, queries),
                }
            };
            let inputs = [(tokens, all, 2.0), (tokens, width, 2.0), (tokens, width, 1.0)];
            compare(inputs, seed, 2e-5,
                |[q, k, v]| attend(true, q, [k, v], None),
                |[q, k, v]| attend(false, q, [k, v], None));
            let of_prefix = (groups * prefix, width, 1.0);
            let inputs = [inputs[0], inputs[1], inputs[2], of_prefix, of_prefix];
            compare(inputs, seed, 2e-5,
                |[q, k, v, a, b]| attend(true, q, [k, v], Some([a, b])),
                |[q, k, v, a, b]| attend(false, q, [k, v], Some([a, b])));
            let op = SharedPrefix { heads, groups, rows, len };
            let sizes = inputs.map(|(rows, columns, _)| (rows, columns));
            has_form::<3, _>(&op, [sizes[0], sizes[1], sizes[2]]);
            has_form::<5, _>(&op, sizes);
        }
    }
}
