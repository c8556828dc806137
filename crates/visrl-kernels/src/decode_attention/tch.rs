//! The step in LibTorch's operators: the rotation in the memory of the product before it, one write
//! to the cache, and one fused attention.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::Tensor;
use tch::Tensor as Native;

use super::op::{Attended, DecodeAttention};
use crate::heads::Heads;
use crate::libtorch::{self, Torch};

pub(super) fn attend(
    step: &DecodeAttention,
    qkv: Tensor<2>,
    cache: Tensor<3>,
) -> Result<Attended, Attended> {
    if !libtorch::takes(&qkv) || !libtorch::takes(&cache) {
        return Err((qkv, cache));
    }
    let (qkv, cache) = (
        libtorch::owned(libtorch::unwrap(qkv)),
        libtorch::owned(libtorch::unwrap(cache)),
    );
    let Heads { query, kv, dim } = step.heads;
    let [rows, capacity, query, kv, dim, group] = [
        step.rows,
        step.capacity,
        query,
        kv,
        dim,
        step.heads.per_kv(),
    ]
    .map(|size| size as i64);
    let (row, token) = ((query + 2 * kv) * dim, 2 * kv * dim);
    rotate(step, &qkv, [rows, query + kv, dim], row);
    let new = qkv.tensor.narrow(1, query * dim, token);
    let places = libtorch::ints(step.places.clone());
    let mut flat = cache.tensor.view([rows * capacity, token]);
    let _ = flat.index_copy_(0, &places.tensor, &new);

    // The query heads that share a head of keys stand in the place of new tokens.
    let (size, strides) = ([rows, kv, capacity, dim], [capacity * token, dim, token, 1]);
    let keys = cache.tensor.as_strided(size, strides, None);
    let values = cache.tensor.narrow(2, kv * dim, kv * dim);
    let values = values.as_strided(size, strides, None);
    let size = [rows, kv, group, dim];
    let queries = qkv
        .tensor
        .as_strided(size, [row, group * dim, dim, 1], None);
    let bias = libtorch::unwrap(step.bias.clone());
    let mixed = match libtorch::is_cuda(&qkv) {
        true => {
            let bias = bias.tensor.expand([rows, kv, group, capacity], false);
            let (mixed, ..) = Native::internal_scaled_dot_product_efficient_attention(
                &queries,
                &keys,
                &values,
                Some(&bias),
                false,
                0.0,
                false,
                None,
            );
            mixed
        }
        false => Native::scaled_dot_product_attention(
            &queries,
            &keys,
            &values,
            Some(&bias.tensor),
            0.0,
            false,
            None,
            false,
        ),
    };
    let mixed = libtorch::fresh(mixed.reshape([rows, query * dim]));
    Ok((libtorch::wrap(mixed), libtorch::wrap(cache)))
}

/// Turns the first heads of each row in place: `x cos + (halves of x swapped) sin`.
fn rotate(step: &DecodeAttention, qkv: &Torch, [rows, heads, dim]: [i64; 3], row: i64) {
    let size = [rows, heads, dim];
    let mut turned = qkv.tensor.as_strided(size, [row, dim, 1], None);
    let [cos, sin] = step.rotation.clone().map(libtorch::unwrap);
    let swapped = turned.roll([dim / 2], [-1]);
    let _ = turned.g_mul_(&cos.tensor);
    let _ = turned.addcmul_(&swapped, &sin.tensor);
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Int, TensorData};

    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{device, has_f64};
    use crate::testing::{close, matrix, values};

    #[test]
    fn equals_the_plain_form() {
        let (rows, capacity, device) = (5, 16, device());
        let heads = Heads {
            query: 6,
            kv: 2,
            dim: 8,
        };
        let lengths = TensorData::new(vec![0i64, 3, 15, 7, 8], [rows]);
        let lengths = Tensor::<1, Int>::from_data(lengths, &device);
        let make = |seed, rows, columns| {
            // Numbers that bf16 holds exactly.
            let of = matrix(seed, rows, columns, 2.0, &device);
            of.cast(DType::BF16).cast(DType::F32)
        };
        let angles = matrix(1, rows, 4, 9.0, &device);
        let qkv = make(2, rows, 10 * 8);
        let cache = make(3, rows * capacity, 32).reshape([rows, capacity, 32]);
        let step =
            |dtype| DecodeAttention::new(heads, angles.clone(), lengths.clone(), capacity, dtype);
        let (mixed, grown) = plain::attend(&step(DType::F32), qkv.clone(), cache.clone());
        let mut formats = vec![(DType::F32, 1e-5), (DType::BF16, 3e-2)];
        if has_f64() {
            formats.push((DType::F64, 1e-5));
        }
        for (dtype, tolerance) in formats {
            let (qkv, cache) = (qkv.clone().cast(dtype), cache.clone().cast(dtype));
            let found = attend(&step(dtype), qkv.clone(), cache.clone()).unwrap();
            close(&values(found.0), &values(mixed.clone()), tolerance);
            close(&values(found.1), &values(grown.clone()), tolerance);
            // Someone else holds the inputs: they must stay as they are.
            assert_eq!(values(qkv), values(make(2, rows, 10 * 8)));
            assert_eq!(values(cache), values(make(3, rows * capacity, 32)));
        }
    }
}
