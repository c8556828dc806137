//! Attention of segments whose operations are not recorded, all of them together.

use burn::tensor::Tensor;

use super::blocks::{block_size, run_blocks};
use super::query_block::{QueryBlock, RowSpan};
use super::rows::{KeyValues, StridedRows};
use crate::attention::segment::Segment;
use crate::flex::{self, Host};
use crate::heads::Heads;

/// Rows of queries that a block has when each row of a group gets one token.
const DECODED: usize = 16;

/// The shape of a segment and where its keys and values are.
#[derive(Clone, Copy, Debug)]
pub(super) struct SegmentLayout<'a> {
    pub(super) groups: usize,
    pub(super) rows: usize,
    /// New tokens of a row.
    pub(super) len: usize,
    /// `[groups, prefix, kv heads * dim]`.
    pub(super) prefix: Option<KeyValues<'a>>,
    /// `[groups * rows, own.len, kv heads * dim]`, the rows `capacity` tokens apart.
    pub(super) own: KeyValues<'a>,
    pub(super) capacity: usize,
}

impl<'a> SegmentLayout<'a> {
    /// Blocks of a group's queries, group by group. `queries` begins with the segment's own.
    pub(super) fn blocks(
        &self,
        heads: Heads,
        queries: StridedRows<'a>,
    ) -> Vec<Vec<QueryBlock<'a>>> {
        let past = self.own.len - self.len;
        let per_group = self.rows * self.len;
        // Blocks depend on the group alone, so that its result does, too.
        let size = match self.len {
            1 => (DECODED / heads.per_kv().max(1)).max(1),
            _ => block_size(heads),
        };
        let group = |group: usize| {
            let shared = self.prefix.map(|part| KeyValues {
                keys: part.keys.skip(group * part.len),
                values: part.values.skip(group * part.len),
                ..part
            });
            let block = |start: usize| {
                let end = (start + size).min(per_group);
                let mut spans = Vec::new();
                let mut at = start;
                while at < end {
                    let (row, token) = (at / self.len, at % self.len);
                    let count = (self.len - token).min(end - at);
                    let first = (group * self.rows + row) * self.capacity;
                    let part = KeyValues {
                        keys: self.own.keys.skip(first),
                        values: self.own.values.skip(first),
                        len: past + token + count,
                    };
                    spans.push(RowSpan {
                        count,
                        part,
                        causal: true,
                        first: row * self.len,
                    });
                    at += count;
                }
                QueryBlock {
                    queries: queries.skip(group * per_group + start),
                    shared,
                    spans,
                }
            };
            (0..per_group).step_by(size).map(block).collect()
        };
        (0..self.groups).map(group).collect()
    }
}

/// Keys and values in host memory, in order.
struct HostPair {
    pair: [Host; 2],
    /// Length of the second axis.
    len: usize,
}

impl HostPair {
    fn of(pair: &[Tensor<3>; 2]) -> Option<Self> {
        let [keys, values] = pair.each_ref().map(flex::untracked_in_f32);
        Some(Self {
            pair: [flex::in_order(keys?), flex::in_order(values?)],
            len: pair[0].dims()[1],
        })
    }

    fn part(&self, stride: usize, len: usize) -> KeyValues<'_> {
        let [keys, values] = self.pair.each_ref().map(|side| StridedRows {
            data: flex::read(side),
            stride,
        });
        KeyValues { keys, values, len }
    }
}

/// Attention of segments; nothing where a tensor is tracked, f64 or not in host memory.
pub(in crate::attention) fn attend(
    heads: Heads,
    segments: &[Segment<'_>],
    queries: &Tensor<2>,
) -> Option<Tensor<2>> {
    let dtype = queries.dtype();
    let queries = flex::in_order(flex::untracked_in_f32(queries)?);
    let width = heads.query * heads.dim;
    let rows = StridedRows {
        data: flex::read(&queries),
        stride: width,
    };
    let mut hosts = Vec::with_capacity(segments.len());
    for segment in segments {
        let prefix = match segment.prefix {
            Some(pair) => Some(HostPair::of(pair)?),
            None => None,
        };
        hosts.push((prefix, HostPair::of(segment.own)?));
    }
    let mut start = 0;
    let mut blocks = Vec::new();
    for (segment, (prefix, own)) in segments.iter().zip(&hosts) {
        let kv = heads.kv * heads.dim;
        let layout = SegmentLayout {
            groups: segment.groups,
            rows: segment.rows,
            len: segment.len,
            prefix: prefix.as_ref().map(|host| host.part(kv, host.len)),
            own: own.part(kv, segment.own_len),
            capacity: own.len,
        };
        blocks.extend(layout.blocks(heads, rows.skip(start)).into_iter().flatten());
        start += segment.tokens();
    }
    let mut out = vec![0.0; start * width];
    run_blocks(heads, &blocks, &mut out, None);
    let out = flex::from_vec(out, [start, width]);
    Some(flex::tensor(flex::narrowed(out, dtype)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device};
    use proptest::prelude::*;

    use super::*;
    use crate::attention::{op, plain};
    use crate::testing::{close, matrix, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Segments of `[groups, rows, prefix, earlier tokens, new tokens, spare capacity]`.
        #[test]
        fn equals_the_plain_form(
            seed in 0u64..1000, per_kv in 1usize..4, kv in 1usize..3, dim in 1usize..20,
            shapes in proptest::collection::vec((
                [1usize..4, 1usize..5], 0usize..70, 0usize..60, prop_oneof![Just(1), 1usize..90],
                0usize..9,
            ), 1..4),
        ) {
            let heads = Heads { query: per_kv * kv, kv, dim };
            let width = kv * dim;
            let pair = |seed: u64, rows: usize, len: usize| [0, 1].map(|side| {
                let side = matrix(seed + side, rows * len, width, 2.0, &Device::flex());
                side.reshape([rows, len, width])
            });
            let tensors: Vec<_> = shapes.iter().enumerate().map(|(i, &(groups_rows, prefix, past, len, spare))| {
                let [groups, rows] = groups_rows;
                let seed = seed + 10 * i as u64;
                let shared = (prefix > 0).then(|| pair(seed, groups, prefix));
                (shared, pair(seed + 2, groups * rows, past + len + spare))
            }).collect();
            let segments: Vec<_> = shapes.iter().zip(&tensors).map(|(&([groups, rows], _, past, len, _), (prefix, own))| {
                Segment { groups, rows, len, prefix: prefix.as_ref(), own, own_len: past + len }
            }).collect();
            let tokens: usize = segments.iter().map(Segment::tokens).sum();
            let queries = matrix(seed + 99, tokens, heads.query * dim, 2.0, &Device::flex());
            let mut start = 0;
            let mut expected = Vec::new();
            for segment in &segments {
                let queries = queries.clone().narrow(0, start, segment.tokens());
                expected.extend(values(plain::attend(heads, segment, queries)));
                start += segment.tokens();
            }
            let found = attend(heads, &segments, &queries).unwrap();
            close(&values(found), &expected, 1e-5);
            close(&values(op::attend(heads, &segments, queries)), &expected, 1e-5);
        }
    }

    #[test]
    fn other_formats_are_left_to_the_plain_form() {
        let heads = Heads {
            query: 4,
            kv: 2,
            dim: 3,
        };
        let own = |dtype: DType| {
            [1, 2].map(|seed| {
                let side = matrix(seed, 10, 6, 1.0, &Device::flex());
                side.reshape([2, 5, 6]).cast(dtype)
            })
        };
        let attend_in = |dtype: DType| {
            let own = own(dtype);
            let segment = Segment {
                groups: 1,
                rows: 2,
                len: 2,
                prefix: None,
                own: &own,
                own_len: 4,
            };
            let queries = matrix(3, 4, 12, 1.0, &Device::flex()).cast(dtype);
            let took = attend(heads, &[segment], &queries).is_some();
            (took, values(op::attend(heads, &[segment], queries)))
        };
        let (took_f32, expected) = attend_in(DType::F32);
        let (took_f64, found) = attend_in(DType::F64);
        assert!(took_f32 && !took_f64);
        close(&found, &expected, 1e-5);
    }
}
