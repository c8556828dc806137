//! Attention of new tokens to a shared prefix and to their own row.

use burn::tensor::Tensor;
use visrl_kernels::{Heads, attention};

use super::segment::Segment;

/// Grouped-query attention of segments' new tokens in one layer of a decoder.
///
/// `queries` is `[tokens, query heads * dim]`, keys and values are `[tokens, kv heads * dim]`, with
/// rotary positions applied, the segments' tokens one after another. Each token sees its group's
/// prefix, its row's earlier tokens and the new ones up to itself. The new keys and values join the
/// segments' caches. Returns `[tokens, query heads * dim]`, or nothing when there are no queries
/// because only the caches are wanted.
pub fn attend(
    heads: Heads,
    segments: &mut [Segment],
    layer: usize,
    queries: Option<Tensor<2>>,
    pair: [Tensor<2>; 2],
) -> Option<Tensor<2>> {
    append(segments, layer, pair);
    let queries = queries?;
    let mut parts = Vec::with_capacity(segments.len());
    for segment in segments {
        let [groups, rows, len] = [segment.groups, segment.rows, segment.len];
        let cache = &*segment.cache.layer(layer);
        parts.push(attention::Segment {
            groups,
            rows,
            len,
            prefix: cache.prefix.as_ref(),
            own: cache.own.as_ref()?,
            own_len: cache.len,
        });
    }
    Some(attention::attend(heads, &parts, queries))
}

/// Adds the new tokens' keys and values to the segments' caches.
fn append(segments: &mut [Segment], layer: usize, pair: [Tensor<2>; 2]) {
    let whole = segments.len() == 1;
    let mut start = 0;
    let mut new = Vec::with_capacity(segments.len());
    for segment in &*segments {
        let tokens = segment.tokens();
        new.push(pair.each_ref().map(|side| match whole {
            true => side.clone(),
            false => side.clone().narrow(0, start, tokens),
        }));
        start += tokens;
    }
    // What is written in place must have no other holder.
    drop(pair);
    for (segment, new) in segments.iter_mut().zip(new) {
        let (sequences, len) = (segment.groups * segment.rows, segment.len);
        segment.cache.layer(layer).append(sequences, len, new);
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use burn::backend::Flex;
    use burn::tensor::{Device, TensorData};

    /// A matrix of numbers from -1 to 1 that look random, the same for the same seed.
    fn matrix(seed: u64, rows: usize, columns: usize) -> Tensor<2> {
        let number = |i: usize| ((seed as f32 + 1.0) * 12.9898 + i as f32 * 78.233).sin();
        let values: Vec<f32> = (0..rows * columns).map(number).collect();
        Tensor::from_data(TensorData::new(values, [rows, columns]), &Device::flex())
    }

    fn values(tensor: Tensor<2>) -> Vec<f32> {
        tensor.try_into_vec_as().unwrap()
    }

    /// A segment of groups with a random prefix, or none, in one layer.
    fn segment(seed: u64, [groups, rows, prefix]: [usize; 3], width: usize) -> Segment {
        let mut segment = Segment::prompts(groups, 1);
        segment.rows = rows;
        if prefix > 0 {
            let side = |seed| {
                let side = matrix(seed, groups * prefix, width);
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
            let side = |width| matrix(step, 6, width);
            attend(heads, &mut segments, 0, Some(side(8)), [side(4), side(4)]);
            let own = segments[0].cache.layer(0).own.clone().unwrap();
            let host = own[0].clone().try_into_primitive::<Flex>().unwrap();
            places.push((own[0].dims()[1], host.storage::<f32>().as_ptr()));
        }
        places.dedup();
        let capacities: Vec<usize> = places.iter().map(|place| place.0).collect();
        assert_eq!(capacities, [1, 16, 32, 64]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn groups_and_rows_part_with_what_is_theirs(
            seed in 0u64..1000, shape in [1usize..4, 2usize..5, 0usize..9], steps in 1usize..20,
        ) {
            let heads = Heads { query: 4, kv: 2, dim: 3 };
            let mut whole = segment(seed, shape, 6);
            let step = |segments: &mut [Segment], rows: &[usize], seed: u64| {
                let pick = |width| {
                    let all = matrix(seed, shape[0] * shape[1], width);
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
                for (a, b) in step(&mut parts, &rows, seed).into_iter().zip(expected) {
                    prop_assert!((a - b).abs() <= 1e-5, "{a} for {b}");
                }
            }
            let last = whole.select_groups(&[shape[0] - 1]);
            prop_assert_eq!(last.cache.own_len(), 2 * steps);
            prop_assert_eq!((last.groups, last.rows), (1, shape[1]));
        }
    }
}
