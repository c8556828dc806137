//! The step in tensor operations.

use burn::tensor::activation::softmax;
use burn::tensor::{IndexingUpdateOp, Tensor};

use super::op::{Attended, DecodeAttention};
use crate::heads::Heads;

pub(super) fn attend(step: &DecodeAttention, qkv: Tensor<2>, cache: Tensor<3>) -> Attended {
    let Heads { query, kv, dim } = step.heads;
    let (rows, capacity, group) = (step.rows, step.capacity, step.heads.per_kv());
    let turned = (query + kv) * dim;
    let turning = qkv.clone().narrow(1, 0, turned);
    let turning = rotate(step, turning.reshape([rows, query + kv, dim]));
    let keys = turning.clone().narrow(1, query, kv);
    let values = qkv.narrow(1, turned, kv * dim);
    let new = Tensor::cat(vec![keys.reshape([rows, kv * dim]), values], 1);
    let flat = cache.reshape([rows * capacity, 2 * kv * dim]);
    let flat = flat.select_assign(0, step.places.clone(), new, IndexingUpdateOp::Assign);
    let sides = flat.clone().reshape([rows, capacity, 2 * kv, dim]);
    let [keys, values] = [0, kv].map(|first| sides.clone().narrow(2, first, kv));
    let queries = turning.narrow(1, 0, query) / (dim as f64).sqrt();
    let queries = queries.reshape([rows, kv, group, dim]);
    let scores = queries.matmul(keys.permute([0, 2, 3, 1])) + step.bias.clone();
    let mixed = softmax(scores, 3).matmul(values.permute([0, 2, 1, 3]));
    let cache = flat.reshape([rows, capacity, 2 * kv * dim]);
    (mixed.reshape([rows, query * dim]), cache)
}

/// Turns heads `[rows, heads, dim]`.
fn rotate(step: &DecodeAttention, x: Tensor<3>) -> Tensor<3> {
    let [_, _, dim] = x.dims();
    let [cos, sin] = step.rotation.clone().map(|side| side.cast(x.dtype()));
    let left = x.clone().narrow(2, 0, dim / 2);
    let right = x.clone().narrow(2, dim / 2, dim / 2);
    x * cos + Tensor::cat(vec![right, left], 2) * sin
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::tensor::{DType, Device, Int, TensorData};
    use proptest::prelude::*;

    use super::*;
    use crate::attention::{Segment, attend as attend_segments};
    use crate::rotary::RotationTable;
    use crate::testing::{close, matrix, numbers, values};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        /// Rows of different lengths, each as it comes out alone.
        #[test]
        fn each_row_is_attention_to_its_own_tokens(
            seed in 0u64..1000, lengths in prop::collection::vec(0usize..9, 1..6),
            kv in 1usize..3, group in 1usize..4, half in 1usize..5,
        ) {
            let (device, rows, capacity) = (Device::flex(), lengths.len(), 9);
            let heads = Heads { query: kv * group, kv, dim: 2 * half };
            let width = kv * heads.dim;
            let angles = numbers(seed, rows * half, 9.0);
            let turned = Tensor::from_data(TensorData::new(angles.clone(), [rows, half]), &device);
            let ids: Vec<i64> = lengths.iter().map(|&length| length as i64).collect();
            let ids = Tensor::<1, Int>::from_data(TensorData::new(ids, [rows]), &device);
            let step = DecodeAttention::new(heads, turned, ids, capacity, DType::F32);
            let qkv = matrix(seed + 1, rows, (kv * group + 2 * kv) * heads.dim, 2.0, &device);
            let cache = matrix(seed + 2, rows * capacity, 2 * width, 2.0, &device);
            let cache = cache.reshape([rows, capacity, 2 * width]);
            let (mixed, grown) = step.attend(qkv.clone(), cache.clone());

            let table = RotationTable::new(&angles, half);
            let part = |start: usize, len: usize| qkv.clone().narrow(1, start, len);
            let queries = table.apply(part(0, group * width));
            let new = [table.apply(part(group * width, width)), part((group + 1) * width, width)];
            for (row, &length) in lengths.iter().enumerate() {
                let own = [0, 1].map(|side| {
                    let past = cache.clone().narrow(0, row, 1).narrow(2, side * width, width);
                    let new: Tensor<3> = new[side].clone().narrow(0, row, 1).unsqueeze();
                    match length {
                        0 => new,
                        _ => Tensor::cat(vec![past.narrow(1, 0, length), new], 1),
                    }
                });
                let segment = Segment {
                    groups: 1, rows: 1, len: 1, prefix: None, own: &own, own_len: length + 1,
                };
                let alone = attend_segments(heads, &[segment], queries.clone().narrow(0, row, 1));
                close(&values(mixed.clone().narrow(0, row, 1)), &values(alone), 1e-5);
                let kept = grown.clone().narrow(0, row, 1).narrow(1, 0, length + 1);
                close(&values(kept), &values(Tensor::cat(own.to_vec(), 2)), 1e-6);
            }
        }
    }
}
