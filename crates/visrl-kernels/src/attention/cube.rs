//! The attention in kernels of cubecl, that of each segment in one.

use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use super::segment::Segment;
use super::shared_prefix::SharedPrefix;
use crate::cube::attention::{self, Layout, Sides, Span, Spans};
use crate::cube::{self, Cube, CubeTensor, rows};
use crate::forms::{Fused, on};
use crate::heads::Heads;

/// Queries, keys and values, spans, and what was mixed.
type Saved = (CubeTensor, Sides, Spans, [CubeTensor; 2]);

/// Keys and values in tensors of their own.
fn layout(heads: Heads) -> Layout {
    Layout {
        heads,
        columns: [0; 3],
    }
}

/// Attention of segments where nothing is recorded.
pub(super) fn attend(
    heads: Heads,
    segments: &[Segment<'_>],
    queries: &Tensor<2>,
) -> Option<Tensor<2>> {
    let taken = |segment: &Segment<'_>| {
        let sides = segment.prefix.iter().flat_map(|pair| pair.iter());
        sides.chain(segment.own).all(cube::takes)
    };
    if !cube::takes(queries) || !segments.iter().all(taken) {
        return None;
    }
    let queries = cube::unwrap(queries.clone());
    if !attention::fits(heads, &queries) {
        return None;
    }
    let queries = rows(queries);
    let outputs = attention::outputs(heads, &queries);
    let mut start = 0;
    for segment in segments {
        let side = |side: &Tensor<3>| rows(cube::unwrap(side.clone()));
        let sides = Sides {
            own: segment.own.each_ref().map(side),
            prefix: segment.prefix.map(|pair| pair.each_ref().map(side)),
        };
        let prefix_len = segment.prefix.map_or(0, |pair| pair[0].dims()[1]);
        let capacity = segment.own[0].dims()[1];
        let sizes = [segment.rows, segment.len, prefix_len, capacity];
        let spans = spans(segment.groups, start, sizes, segment.own_len, &queries);
        attention::forward(layout(heads), &spans, queries.clone(), &sides, &outputs);
        start += segment.tokens();
    }
    let [mixed, _] = outputs;
    Some(cube::wrap(mixed))
}

/// The sequences of groups, one after another, whose queries begin at row `start`.
fn spans(
    groups: usize,
    start: usize,
    [rows, len, prefix_len, capacity]: [usize; 4],
    own_len: usize,
    like: &CubeTensor,
) -> Spans {
    let sequences = (0..groups * rows).map(|sequence| Span {
        query: start + sequence * len,
        len,
        own: sequence * capacity,
        own_len,
        past: own_len - len,
        prefix: sequence / rows * prefix_len,
        prefix_len,
    });
    Spans::new(&sequences.collect::<Vec<_>>(), like)
}

impl SharedPrefix {
    fn mixed<const N: usize>(&self, inputs: [CubeTensor; N]) -> (CubeTensor, Saved) {
        let [queries, keys, values] = [0, 1, 2].map(|at| rows(inputs[at].clone()));
        let prefix = (N == 5).then(|| [3, 4].map(|at| rows(inputs[at].clone())));
        let len = |pair: &[CubeTensor; 2]| pair[0].meta.shape()[0] / self.groups.max(1);
        let sizes = [
            self.rows,
            self.len,
            prefix.as_ref().map_or(0, len),
            self.len,
        ];
        let spans = spans(self.groups, 0, sizes, self.len, &queries);
        let sides = Sides {
            own: [keys, values],
            prefix,
        };
        let found = attention::outputs(self.heads, &queries);
        attention::forward(layout(self.heads), &spans, queries.clone(), &sides, &found);
        (found[0].clone(), (queries, sides, spans, found))
    }

    fn cube_gradients<const N: usize>(
        &self,
        saved: Saved,
        grad: CubeTensor,
    ) -> [Option<CubeTensor>; N] {
        let (queries, sides, spans, found) = saved;
        let layout = layout(self.heads);
        let (d_queries, own, prefix) =
            attention::backward(layout, &spans, queries, &sides, found, grad, self.rows);
        let width = self.heads.kv * self.heads.dim;
        let of_own = [self.groups * self.rows, self.len, width];
        let own = own.map(|side| cube::shaped(side, &of_own));
        let prefix = prefix.into_iter().flatten().map(|side| {
            let len = side.meta.shape()[0] / self.groups.max(1);
            cube::shaped(side, &[self.groups, len, width])
        });
        let mut all = std::iter::once(d_queries).chain(own).chain(prefix);
        std::array::from_fn(|_| all.next())
    }
}

impl Fused<Cube, 3> for SharedPrefix {
    type Saved = Saved;

    fn forward(&self, inputs: [CubeTensor; 3]) -> CubeTensor {
        self.mixed(inputs).0
    }

    fn forward_saving(&self, inputs: [CubeTensor; 3]) -> (CubeTensor, Saved) {
        self.mixed(inputs)
    }

    fn backward(&self, saved: Saved, grad: CubeTensor, _: [bool; 3]) -> [Option<CubeTensor>; 3] {
        self.cube_gradients(saved, grad)
    }
}

impl Fused<Cube, 5> for SharedPrefix {
    type Saved = Saved;

    fn forward(&self, inputs: [CubeTensor; 5]) -> CubeTensor {
        self.mixed(inputs).0
    }

    fn forward_saving(&self, inputs: [CubeTensor; 5]) -> (CubeTensor, Saved) {
        self.mixed(inputs)
    }

    fn backward(&self, saved: Saved, grad: CubeTensor, _: [bool; 5]) -> [Option<CubeTensor>; 5] {
        self.cube_gradients(saved, grad)
    }
}

/// The form for heads that there are kernels for.
///
/// # Errors
/// The inputs as they were, where they are others.
#[allow(clippy::result_large_err)] // The type of forms.
pub(super) fn where_it_fits<const N: usize>(
    op: &SharedPrefix,
    inputs: [DispatchTensor; N],
) -> Result<DispatchTensor, [DispatchTensor; N]>
where
    SharedPrefix: Fused<Cube, N>,
{
    match cube::untracked(&inputs[0]) {
        Some(queries) if attention::fits(op.heads, &queries) => on::<Cube, _, N>(op, inputs),
        _ => Err(inputs),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::attention::{op, plain};
    use crate::cube::testing::{compare, device, has_form};
    use crate::testing::{close, matrix, values};

    fn check(seed: u64, heads: Heads, [groups, rows, len]: [usize; 3], prefix: usize) {
        let tokens = groups * rows * len;
        let (all, width) = (heads.query * heads.dim, heads.kv * heads.dim);
        let run = |fused: bool, queries: Tensor<2>, pairs: [Option<[Tensor<2>; 2]>; 2]| {
            let [own, shared] = pairs;
            let own = own
                .unwrap()
                .map(|side| side.reshape([groups * rows, len, width]));
            let shared = shared.map(|pair| pair.map(|side| side.reshape([groups, prefix, width])));
            let segment = Segment {
                groups,
                rows,
                len,
                prefix: shared.as_ref(),
                own: &own,
                own_len: len,
            };
            match fused {
                true => op::attend(heads, &[segment], queries),
                false => plain::attend(heads, &segment, queries),
            }
        };
        let own = (tokens, width, 2.0);
        let op = SharedPrefix {
            heads,
            groups,
            rows,
            len,
        };
        if prefix == 0 {
            compare(
                [(tokens, all, 2.0), own, own],
                seed,
                |[q, k, v]| run(true, q, [Some([k, v]), None]),
                |[q, k, v]| run(false, q, [Some([k, v]), None]),
            );
            has_form::<3, _>(&op, |at| vec![tokens, if at == 0 { all } else { width }]);
            return;
        }
        let shared = (groups * prefix, width, 2.0);
        compare(
            [(tokens, all, 2.0), own, own, shared, shared],
            seed,
            |[q, k, v, a, b]| run(true, q, [Some([k, v]), Some([a, b])]),
            |[q, k, v, a, b]| run(false, q, [Some([k, v]), Some([a, b])]),
        );
        has_form::<5, _>(&op, |at| match at {
            0 => vec![tokens, all],
            1 | 2 => vec![tokens, width],
            _ => vec![groups * prefix, width],
        });
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]

        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, per_kv in 1usize..4, kv in 1usize..3, dim in 1usize..12,
            [groups, rows, len] in [1usize..4, 1usize..4, 1usize..30], prefix in 0usize..40,
        ) {
            let heads = Heads { query: per_kv * kv, kv, dim };
            check(seed, heads, [groups, rows, len], prefix);
        }
    }

    /// Heads as wide as those of models, with more rows and keys than tiles have.
    #[test]
    fn heads_of_all_widths() {
        for (dim, len, prefix) in [(16, 17, 16), (80, 5, 33), (128, 3, 0)] {
            let heads = Heads {
                query: 6,
                kv: 2,
                dim,
            };
            check(3, heads, [1, 2, len], prefix);
        }
    }

    /// One step of decoding: rows that have tokens already, in memory with room for more.
    #[test]
    fn tokens_behind_others() {
        let heads = Heads {
            query: 4,
            kv: 2,
            dim: 8,
        };
        let (groups, rows, len, capacity, own_len) = (2, 3, 2, 9, 6);
        let on = |device: &burn::tensor::Device, fused: bool| {
            let side = |seed, count| {
                let of = matrix(seed, groups * count, 16, 2.0, device);
                of.reshape([groups as i32, -1, 16])
            };
            let own = [1, 2].map(|seed| {
                let side: Tensor<3> = side(seed, rows * capacity);
                side.reshape([groups * rows, capacity, 16])
            });
            let prefix = [3, 4].map(|seed| side(seed, 20));
            let queries = matrix(5, groups * rows * len, 32, 2.0, device);
            let segment = Segment {
                groups,
                rows,
                len,
                prefix: Some(&prefix),
                own: &own,
                own_len,
            };
            values(match fused {
                true => attend(heads, &[segment], &queries).unwrap(),
                false => plain::attend(heads, &segment, queries),
            })
        };
        let expected = on(&burn::tensor::Device::flex(), false);
        close(&on(&device(), true), &expected, 1e-5);
    }
}
