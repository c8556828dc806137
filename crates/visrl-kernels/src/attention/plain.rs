//! The attention of one segment in tensor operations.

use burn::tensor::Tensor;

use super::segment::Segment;
use crate::heads::Heads;
use crate::masked_softmax::{Mask, masked_softmax};

pub(super) fn attend(heads: Heads, segment: &Segment<'_>, queries: Tensor<2>) -> Tensor<2> {
    let Heads { query, kv, dim } = heads;
    let per_kv = heads.per_kv();
    let &Segment {
        groups,
        rows,
        len,
        own_len: total,
        ..
    } = segment;
    // [groups, kv, rows, per_kv, len, dim]: the rows of the products below.
    let queries = queries.reshape([groups, rows, len, kv, per_kv, dim]);
    let queries = (queries / (dim as f64).sqrt()).permute([0, 3, 1, 4, 2, 5]);
    let queries = queries.reshape([groups * kv * rows, per_kv * len, dim]);
    let [own_keys, own_values] = segment.own.clone().map(|side| {
        let side = match side.dims()[1] == total {
            true => side,
            false => side.narrow(1, 0, total),
        };
        let side = side.reshape([groups, rows, total, kv, dim]);
        side.permute([0, 3, 1, 2, 4])
            .reshape([groups * kv * rows, total, dim])
    });
    let scores = queries.clone().matmul(own_keys.swap_dims(1, 2));
    let past = total - len;
    let mixed = match segment.prefix {
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
