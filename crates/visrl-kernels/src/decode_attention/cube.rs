//! The step in two kernels of cubecl: one that turns queries and keys and writes to the cache, and
//! the attention.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::op::{Attended, DecodeAttention};
use crate::cube::attention::{self, Layout, SPAN, Sides, Spans};
use crate::cube::launch::{self, WIDTH};
use crate::cube::{self, element, fresh, in_order, rows, shaped};
use crate::heads::Heads;

/// Turns the queries of new tokens to `queries` and their keys to the cache, writes their values
/// there, and the span of each row.
#[cube(launch)]
fn store<E: Float, I: Int>(
    qkv: &Tensor<E>,
    cos: &Tensor<f32>,
    sin: &Tensor<f32>,
    places: &Tensor<I>,
    queries: &mut Tensor<E>,
    cache: &mut Tensor<E>,
    spans: &mut Tensor<u32>,
    of_queries: usize,
    of_keys: usize,
    dim: usize,
    #[define(E, I)] _formats: [ElemType; 2],
) {
    let columns = qkv.shape(1);
    let capacity = cache.shape(1);
    let width = cache.shape(2);
    let numbers = qkv.shape(0) * columns;
    let half = dim / 2;
    let mut at = ABSOLUTE_POS;
    while at < numbers {
        let (row, column) = (at / columns, at % columns);
        let start = row * qkv.stride(0);
        let mut value = f32::cast_from(qkv[start + column]);
        if column < of_queries + of_keys {
            let place = column % dim;
            let mut other = column + half;
            if place >= half {
                other = column - half;
            }
            let turned = value * cos[row * dim + place];
            value = turned + f32::cast_from(qkv[start + other]) * sin[row * dim + place];
        }
        let token = usize::cast_from(places[row]);
        if column < of_queries {
            queries[row * of_queries + column] = E::cast_from(value);
        } else {
            cache[token * width + column - of_queries] = E::cast_from(value);
        }
        if column == 0 {
            spans[row * SPAN] = u32::cast_from(row);
            spans[row * SPAN + 1] = 1u32;
            spans[row * SPAN + 2] = u32::cast_from(row * capacity);
            spans[row * SPAN + 3] = u32::cast_from(token - row * capacity + 1);
            spans[row * SPAN + 4] = u32::cast_from(capacity);
            spans[row * SPAN + 5] = 0u32;
            spans[row * SPAN + 6] = 0u32;
        }
        at += CUBE_COUNT as usize * WIDTH;
    }
}

pub(super) fn attend(
    step: &DecodeAttention,
    qkv: burn::Tensor<2>,
    cache: burn::Tensor<3>,
) -> Result<Attended, Attended> {
    if !cube::takes(&qkv) || !cube::takes(&cache) || qkv.dtype() != cache.dtype() {
        return Err((qkv, cache));
    }
    let heads = step.heads;
    if !attention::fits(heads, &cube::unwrap(qkv.clone())) {
        return Err((qkv, cache));
    }
    let Heads { query, kv, dim } = heads;
    let qkv = rows(cube::unwrap(qkv));
    let cache = cube::copied(cube::unwrap(cache));
    let side = |side: &burn::Tensor<3>| in_order(cube::unwrap(side.clone()));
    let [cos, sin] = step.rotation.each_ref().map(side);
    let places = cube::whole_numbers(step.places.clone());
    let queries = fresh(&qkv, &[step.rows, query * dim], qkv.dtype);
    let table = fresh(&qkv, &[step.rows, SPAN], DType::U32);
    let formats = [element(&qkv), element(&places)];
    store::launch(
        &queries.client,
        launch::cubes_of_units(qkv.meta.num_elements()),
        launch::cube(),
        qkv.into_tensor_arg(),
        cos.into_tensor_arg(),
        sin.into_tensor_arg(),
        places.into_tensor_arg(),
        queries.clone().into_tensor_arg(),
        cache.clone().into_tensor_arg(),
        table.clone().into_tensor_arg(),
        query * dim,
        kv * dim,
        dim,
        formats,
    );
    let spans = Spans {
        table,
        sequences: step.rows,
        longest: [1, step.capacity, 0],
    };
    let tokens = shaped(cache.clone(), &[step.rows * step.capacity, 2 * kv * dim]);
    let sides = Sides {
        own: [tokens.clone(), tokens],
        prefix: None,
    };
    let layout = Layout {
        heads,
        columns: [0, 0, kv * dim],
    };
    let outputs = attention::outputs(heads, &queries);
    attention::forward(layout, &spans, queries, &sides, &outputs);
    let [mixed, _] = outputs;
    Ok((cube::wrap(mixed), cube::wrap(cache)))
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Int, Tensor, TensorData};

    use super::super::plain;
    use super::*;
    use crate::cube::testing::device;
    use crate::testing::{close, matrix, values};

    fn check(heads: Heads, lengths: &[i64], capacity: usize) {
        let rows = lengths.len();
        let (all, width) = (heads.query + 2 * heads.kv, 2 * heads.kv * heads.dim);
        let qkv = |device: &Device| matrix(2, rows, all * heads.dim, 2.0, device);
        let cache = |device: &Device| {
            let of = matrix(3, rows * capacity, width, 2.0, device);
            of.reshape([rows, capacity, width])
        };
        let step = |device: &Device| {
            let lengths = TensorData::new(lengths.to_vec(), [rows]);
            let lengths = Tensor::<1, Int>::from_data(lengths, device);
            let angles = matrix(1, rows, heads.dim / 2, 9.0, device);
            DecodeAttention::new(heads, angles, lengths, capacity, DType::F32)
        };
        let flex = Device::flex();
        let (mixed, grown) = plain::attend(&step(&flex), qkv(&flex), cache(&flex));
        let device = device();
        let held = (qkv(&device), cache(&device));
        let found = attend(&step(&device), held.0.clone(), held.1.clone()).unwrap();
        close(&values(found.0), &values(mixed), 1e-5);
        close(&values(found.1), &values(grown), 1e-6);
        // Someone else holds the inputs: they must stay as they are.
        assert_eq!(values(held.0), values(qkv(&flex)));
        assert_eq!(values(held.1), values(cache(&flex)));
    }

    #[test]
    fn equals_the_plain_form() {
        for (query, kv, dim, lengths, capacity) in [
            (6, 2, 8, &[0i64, 3, 15, 7, 8][..], 16),
            (1, 1, 2, &[0], 1),
            (12, 2, 128, &[40, 99], 100),
            (20, 1, 16, &[5, 0, 2], 33),
        ] {
            check(Heads { query, kv, dim }, lengths, capacity);
        }
    }
}
