//! Attention of new tokens to a shared prefix and to their own row.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use visrl_kernels::attention::{self, Grouped};
use visrl_kernels::{Heads, Mask, masked_softmax};

use super::kv_cache::LayerCache;
use super::segment::Segment;

/// Grouped-query attention of segments' new tokens in one layer of a decoder.
///
/// `queries` is `[tokens, query heads * dim]`, keys and values are `[tokens, kv heads * dim]`, with
/// rotary positions applied, the segments' tokens one after another. Each token sees its group's
/// prefix, its row's earlier tokens and the new ones up to itself. The new keys and values join the
/// segments' caches. Returns `[tokens, query heads * dim]`, or nothing when there are no queries
/// because only the caches are wanted.
///
/// The prefix is multiplied once for all rows of a group, and keys are never repeated over query
/// heads.
pub fn attend(
    heads: Heads,
    segments: &mut [Segment],
    layer: usize,
    queries: Option<Tensor<2>>,
    pair: [Tensor<2>; 2],
) -> Option<Tensor<2>> {
    let whole = segments.len() == 1;
    let mut start = 0;
    let mut new = Vec::with_capacity(segments.len());
    for segment in &mut *segments {
        let tokens = segment.tokens();
        let own = pair.each_ref().map(|side| match whole {
            true => side.clone(),
            false => side.clone().narrow(0, start, tokens),
        });
        new.push(own);
        start += tokens;
    }
    drop(pair);
    let mut start = 0;
    let tracked = queries.as_ref().is_some_and(Tensor::is_autodiff);
    let mut parts = Vec::new();
    for (segment, new) in segments.iter_mut().zip(new) {
        let (sequences, len) = (segment.groups * segment.rows, segment.len);
        let cache = segment.cache.layer(layer);
        let kept = (tracked && cache.len == 0).then(|| new.clone());
        cache.append(sequences, len, new);
        if let (Some(queries), true) = (&queries, tracked) {
            let queries = match whole {
                true => queries.clone(),
                false => queries.clone().narrow(0, start, segment.tokens()),
            };
            parts.push(recorded(heads, segment, layer, queries, kept));
        }
        start += segment.tokens();
    }
    let queries = queries?;
    if tracked {
        return Some(join(parts));
    }
    #[cfg(feature = "flex")]
    if let Some(output) = in_host_memory(heads, segments, layer, &queries) {
        return Some(output);
    }
    let mut start = 0;
    for segment in segments {
        let tokens = segment.tokens();
        let shape = [segment.groups, segment.rows, segment.len];
        let queries = queries.clone().narrow(0, start, tokens);
        parts.push(plain(heads, shape, segment.cache.layer(layer), queries));
        start += tokens;
    }
    Some(join(parts))
}

fn join(mut parts: Vec<Tensor<2>>) -> Tensor<2> {
    match parts.len() {
        1 => parts.remove(0),
        _ => Tensor::cat(parts, 0),
    }
}

/// Attention that a backward pass follows; `new` holds the keys and values when they are the first
/// of their rows.
fn recorded(
    heads: Heads,
    segment: &mut Segment,
    layer: usize,
    queries: Tensor<2>,
    new: Option<[Tensor<2>; 2]>,
) -> Tensor<2> {
    let shape @ [groups, rows, len] = [segment.groups, segment.rows, segment.len];
    let cache = segment.cache.layer(layer);
    #[cfg(feature = "flex")]
    if let Some(new) = new {
        let op = Grouped {
            heads,
            groups,
            rows,
            len,
        };
        let [keys, values] = new.map(Tensor::into_dispatch);
        let queries = queries.into_dispatch();
        let output = match &cache.prefix {
            None => op
                .apply([queries, keys, values])
                .map_err(|[queries, ..]| queries),
            Some(pair) => {
                let [of_keys, of_values] = pair.clone().map(Tensor::into_dispatch);
                op.apply([queries, keys, values, of_keys, of_values])
                    .map_err(|[queries, ..]| queries)
            }
        };
        return match output {
            Ok(output) => output,
            Err(queries) => plain(heads, shape, cache, Tensor::from_dispatch(queries)),
        };
    }
    #[cfg(not(feature = "flex"))]
    let _ = (new, groups, rows, len);
    plain(heads, shape, cache, queries)
}

#[cfg(feature = "flex")]
fn in_host_memory(
    heads: Heads,
    segments: &mut [Segment],
    layer: usize,
    queries: &Tensor<2>,
) -> Option<Tensor<2>> {
    let mut parts = Vec::with_capacity(segments.len());
    for segment in segments {
        let [groups, rows, len] = [segment.groups, segment.rows, segment.len];
        let cache = &*segment.cache.layer(layer);
        parts.push(attention::Segments {
            groups,
            rows,
            len,
            prefix: cache.prefix.as_ref(),
            own: cache.own.as_ref()?,
            own_len: cache.len,
        });
    }
    attention::attend(heads, &parts, queries)
}

/// The same in tensor operations, for a segment of `[groups, rows, len]`.
fn plain(
    heads: Heads,
    [groups, rows, len]: [usize; 3],
    cache: &LayerCache,
    queries: Tensor<2>,
) -> Tensor<2> {
    let Heads { query, kv, dim } = heads;
    let per_kv = heads.per_kv();
    let total = cache.len;
    // [groups, kv, rows, per_kv, len, dim]: the rows of the products below.
    let queries = queries.reshape([groups, rows, len, kv, per_kv, dim]);
    let queries = (queries / (dim as f64).sqrt()).permute([0, 3, 1, 4, 2, 5]);
    let queries = queries.reshape([groups * kv * rows, per_kv * len, dim]);
    let fold = |side: Tensor<3>| {
        let side = side.reshape([groups, rows, total, kv, dim]);
        side.permute([0, 3, 1, 2, 4])
            .reshape([groups * kv * rows, total, dim])
    };
    let Some([own_keys, own_values]) = cache.own().map(|pair| pair.map(fold)) else {
        return queries.reshape([groups * rows * len, query * dim]);
    };
    let scores = queries.clone().matmul(own_keys.swap_dims(1, 2));
    let past = total - len;
    let mixed = match &cache.prefix {
        None => masked_softmax(scores, Mask::Causal { len, past }).matmul(own_values),
        Some(pair) => {
            let prefix = pair[0].dims()[1];
            let stacked = [groups * kv, rows * per_kv * len, dim];
            let [prefix_keys, prefix_values] = pair.clone().map(|side| {
                let side = side.reshape([groups, prefix, kv, dim]).swap_dims(1, 2);
                side.reshape([groups * kv, prefix, dim])
            });
            let to_prefix = queries.reshape(stacked).matmul(prefix_keys.swap_dims(1, 2));
            let to_prefix = to_prefix.reshape([groups * kv * rows, per_kv * len, prefix]);
            let past = prefix + past;
            let scores = Tensor::cat(vec![to_prefix, scores], 2);
            let weights = masked_softmax(scores, Mask::Causal { len, past });
            let to_prefix = weights.clone().narrow(2, 0, prefix);
            let to_own = weights.narrow(2, prefix, total);
            let to_prefix = to_prefix.reshape([groups * kv, rows * per_kv * len, prefix]);
            let from_prefix = to_prefix.matmul(prefix_values);
            let from_prefix = from_prefix.reshape([groups * kv * rows, per_kv * len, dim]);
            to_own.matmul(own_values) + from_prefix
        }
    };
    let mixed = mixed
        .reshape([groups, kv, rows, per_kv, len, dim])
        .permute([0, 2, 4, 1, 3, 5]);
    mixed.reshape([groups * rows * len, query * dim])
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use burn::tensor::Device;
    use visrl_kernels::testing::{close, compare, matrix, values};

    /// A segment of groups with a random prefix, or none, in one layer.
    fn segment(seed: u64, [groups, rows, prefix]: [usize; 3], width: usize) -> Segment {
        let mut segment = Segment::prompts(groups, 1);
        segment.rows = rows;
        if prefix > 0 {
            let side = |seed| {
                let side = matrix(seed, groups * prefix, width, 1.0, &Device::flex());
                side.reshape([groups, prefix, width])
            };
            segment.cache.layer(0).prefix = Some([side(seed), side(seed + 1)]);
        }
        segment
    }

    #[test]
    fn tokens_are_written_in_place() {
        let heads = Heads {
            query: 2,
            kv: 1,
            dim: 4,
        };
        let mut segments = [segment(1, [2, 3, 5], 4)];
        let mut places = Vec::new();
        for step in 0..40 {
            let side = |width| matrix(step, 6, width, 1.0, &Device::flex());
            attend(heads, &mut segments, 0, Some(side(8)), [side(4), side(4)]);
            let own = segments[0].cache.layer(0).own.clone().unwrap();
            let host = visrl_kernels::flex::plain(&own[0]).unwrap();
            places.push((own[0].dims()[1], host.storage::<f32>().as_ptr()));
        }
        places.dedup();
        let capacities: Vec<usize> = places.iter().map(|place| place.0).collect();
        assert_eq!(capacities, [1, 16, 32, 64]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn steps_of_several_segments(
            seed in 0u64..1000, per_kv in 1usize..4, kv in 1usize..3, dim in 1usize..20,
            shapes in proptest::collection::vec([1usize..4, 1usize..5, 0usize..70], 1..4),
            steps in proptest::collection::vec(1usize..90, 1..4), decoded in 0usize..24,
        ) {
            let heads = Heads { query: per_kv * kv, kv, dim };
            let width = kv * dim;
            let mut fast: Vec<_> = shapes.iter().enumerate()
                .map(|(i, &shape)| segment(seed + 7 * i as u64, shape, width)).collect();
            let mut slow = fast.clone();
            let steps = steps.into_iter().chain(std::iter::repeat_n(1, decoded));
            for (step, len) in steps.enumerate() {
                for segment in fast.iter_mut().chain(&mut slow) {
                    segment.len = len;
                }
                let tokens: usize = fast.iter().map(Segment::tokens).sum();
                let of = |part: u64, width| matrix(seed + 100 * step as u64 + part, tokens, width, 2.0, &Device::flex());
                let (queries, pair) = (of(0, heads.query * dim), [of(1, width), of(2, width)]);
                let output = attend(heads, &mut fast, 0, Some(queries.clone()), pair.clone()).unwrap();
                let mut at = 0;
                let mut expected = Vec::new();
                for segment in &mut slow {
                    let tokens = segment.tokens();
                    let cut = |side: &Tensor<2>| side.clone().narrow(0, at, tokens);
                    let shape = [segment.groups, segment.rows, segment.len];
                    let cache = segment.cache.layer(0);
                    cache.append(shape[0] * shape[1], shape[2], pair.each_ref().map(cut));
                    expected.push(plain(heads, shape, cache, cut(&queries)));
                    at += tokens;
                }
                close(&values(output), &values(join(expected)), 1e-5);
            }
        }

        #[test]
        fn gradients_with_and_without_a_prefix(
            seed in 0u64..1000, per_kv in 1usize..4, kv in 1usize..3, dim in 1usize..12,
            shape in [1usize..4, 1usize..4, 1usize..150], prefix in 1usize..40,
        ) {
            let heads = Heads { query: per_kv * kv, kv, dim };
            let [groups, rows, len] = shape;
            let tokens = groups * rows * len;
            let (all, width) = (heads.query * dim, kv * dim);
            let inputs = [(tokens, all, 2.0), (tokens, width, 2.0), (tokens, width, 1.0)];
            let filled = |pair: [Tensor<2>; 2]| {
                let mut cache = LayerCache::default();
                cache.append(groups * rows, len, pair);
                cache
            };
            let by_hand = |[queries, keys, values]: [Tensor<2>; 3]| {
                plain(heads, shape, &filled([keys, values]), queries)
            };
            let fused = |[queries, keys, values]: [Tensor<2>; 3]| {
                let mut segment = segment(0, [groups, rows, 0], width);
                segment.len = len;
                attend(heads, &mut [segment], 0, Some(queries), [keys, values]).unwrap()
            };
            compare(inputs, seed, 2e-5, fused, by_hand);
            let of_prefix = (groups * prefix, width, 1.0);
            let inputs = [inputs[0], inputs[1], inputs[2], of_prefix, of_prefix];
            let shared = |pair: [Tensor<2>; 2]| pair.map(|side| side.reshape([groups, prefix, width]));
            let by_hand = |[queries, keys, values, a, b]: [Tensor<2>; 5]| {
                let mut cache = filled([keys, values]);
                cache.prefix = Some(shared([a, b]));
                plain(heads, shape, &cache, queries)
            };
            let fused = |[queries, keys, values, a, b]: [Tensor<2>; 5]| {
                let mut segment = segment(0, [groups, rows, 0], width);
                segment.len = len;
                segment.cache.layer(0).prefix = Some(shared([a, b]));
                attend(heads, &mut [segment], 0, Some(queries), [keys, values]).unwrap()
            };
            compare(inputs, seed, 2e-5, fused, by_hand);
        }

        #[test]
        fn groups_and_rows_part_with_what_is_theirs(
            seed in 0u64..1000, shape in [1usize..4, 2usize..5, 0usize..9], steps in 1usize..20,
        ) {
            let heads = Heads { query: 4, kv: 2, dim: 3 };
            let mut whole = segment(seed, shape, 6);
            let step = |segments: &mut [Segment], rows: &[usize], seed: u64| {
                let pick = |width| {
                    let all = matrix(seed, shape[0] * shape[1], width, 1.0, &Device::flex());
                    Tensor::cat(rows.iter().map(|&row| all.clone().narrow(0, row, 1)).collect(), 0)
                };
                values(attend(heads, segments, 0, Some(pick(12)), [pick(6), pick(6)]).unwrap())
            };
            let all: Vec<usize> = (0..shape[0] * shape[1]).collect();
            for index in 0..steps {
                step(std::slice::from_mut(&mut whole), &all, seed + index as u64);
            }
            let keep = [shape[1] - 1, 0];
            let mut parts: Vec<_> = whole.clone().split_groups().iter()
                .map(|segment| segment.select_rows(&keep)).collect();
            let rows: Vec<usize> = (0..shape[0])
                .flat_map(|group| keep.map(|row| group * shape[1] + row)).collect();
            for index in 0..steps {
                let seed = seed + 500 + index as u64;
                let expected = step(std::slice::from_mut(&mut whole), &all, seed);
                let expected: Vec<f32> = rows.iter()
                    .flat_map(|&row| expected[row * 12..(row + 1) * 12].to_vec()).collect();
                close(&step(&mut parts, &rows, seed), &expected, 1e-5);
            }
            let last = whole.select_groups(&[shape[0] - 1]);
            prop_assert_eq!(last.cache.own_len(), 2 * steps);
            prop_assert_eq!((last.groups, last.rows), (1, shape[1]));
        }
    }
}
