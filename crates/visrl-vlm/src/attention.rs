//! Attention of new tokens to a shared prefix and to their own row.

use burn::tensor::Tensor;

use crate::Segment;
use crate::kernels::{Mask, masked_softmax};

/// Numbers of heads and their width.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heads {
    pub(crate) query: usize,
    pub(crate) kv: usize,
    pub(crate) dim: usize,
}

/// Grouped-query attention of a segment's new tokens in one layer.
///
/// `queries` is `[tokens, query heads * dim]`, `keys` and `values` are `[tokens, kv heads * dim]`,
/// with rotary positions applied. Each token sees its group's prefix, its row's earlier tokens and
/// the new ones up to itself. The new keys and values join the cache. Returns
/// `[tokens, query heads * dim]`, or nothing when only the cache is wanted.
///
/// The prefix is multiplied once for all rows of a group, and keys are never repeated over query
/// heads: both are folded into the rows of one product.
pub(crate) fn attend(
    heads: Heads,
    segment: &mut Segment,
    layer: usize,
    queries: Option<Tensor<2>>,
    [keys, values]: [Tensor<2>; 2],
) -> Option<Tensor<2>> {
    let Heads { query, kv, dim } = heads;
    let Segment {
        groups, rows, len, ..
    } = *segment;
    let per_kv = query / kv;
    let cache = segment.cache.layer(layer);
    let fold = |tensor: Tensor<2>| {
        tensor
            .reshape([groups, rows, len, kv, dim])
            .permute([0, 3, 1, 2, 4])
    };
    let new = [fold(keys), fold(values)];
    let own = match cache.own.take() {
        None => new,
        Some([old_keys, old_values]) => {
            let [keys, values] = new;
            [
                Tensor::cat(vec![old_keys, keys], 3),
                Tensor::cat(vec![old_values, values], 3),
            ]
        }
    };
    cache.own = Some(own.clone());
    let queries = queries?;

    let total = own[0].dims()[3];
    // [groups, kv, rows, per_kv, len, dim]: the rows of the products below.
    let queries = queries.reshape([groups, rows, len, kv, per_kv, dim]);
    let queries = (queries / (dim as f64).sqrt()).permute([0, 3, 1, 4, 2, 5]);
    let queries = queries.reshape([groups * kv * rows, per_kv * len, dim]);
    let [own_keys, own_values] = own.map(|tensor| tensor.reshape([groups * kv * rows, total, dim]));
    let scores = queries.clone().matmul(own_keys.swap_dims(1, 2));
    let past = total - len;
    let mixed = match &cache.prefix {
        None => masked_softmax(scores, Mask::Causal { len, past }).matmul(own_values),
        Some([prefix_keys, prefix_values]) => {
            let prefix = prefix_values.dims()[2];
            let stacked = [groups * kv, rows * per_kv * len, dim];
            let prefix_keys = prefix_keys.clone().reshape([groups * kv, dim, prefix]);
            let to_prefix = queries.reshape(stacked).matmul(prefix_keys);
            let to_prefix = to_prefix.reshape([groups * kv * rows, per_kv * len, prefix]);
            let past = prefix + past;
            let scores = Tensor::cat(vec![to_prefix, scores], 2);
            let weights = masked_softmax(scores, Mask::Causal { len, past });
            let to_prefix = weights.clone().narrow(2, 0, prefix);
            let to_own = weights.narrow(2, prefix, total);
            let to_prefix = to_prefix.reshape([groups * kv, rows * per_kv * len, prefix]);
            let prefix_values = prefix_values.clone().reshape([groups * kv, prefix, dim]);
            let from_prefix = to_prefix.matmul(prefix_values);
            let from_prefix = from_prefix.reshape([groups * kv * rows, per_kv * len, dim]);
            to_own.matmul(own_values) + from_prefix
        }
    };
    let mixed = mixed
        .reshape([groups, kv, rows, per_kv, len, dim])
        .permute([0, 2, 4, 1, 3, 5]);
    Some(mixed.reshape([groups * rows * len, query * dim]))
}
