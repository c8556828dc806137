//! The forward pass.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use burn::tensor::DType;
use cubecl::prelude::*;

use super::sizes::{Layout, SPAN, Sides, Sizes, Spans};
use super::tiles::{TILE, load, load_queries, mix, product};
use crate::cube::launch;
use crate::cube::reduce::LOWEST;
use crate::cube::tensors::{CubeTensor, element, fresh};
use crate::heads::Heads;

/// What is mixed, `[tokens, query heads * dim]`, and of each query row the logarithm of the sum of
/// its exponentials, `[tokens, query heads, 2]`, with a second number that is not written.
#[cube(launch)]
fn attend<E: Float>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    prefix_k: &Tensor<E>,
    prefix_v: &Tensor<E>,
    spans: &Tensor<u32>,
    y: &mut Tensor<E>,
    stats: &mut Tensor<f32>,
    sizes: &Sizes,
    #[comptime] room: usize,
    #[define(E)] _format: ElemType,
) {
    let mut queries = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut keys = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut scores = Shared::<[f32]>::new_slice(TILE * (TILE + 1));
    let mut shares = Shared::<[f32]>::new_slice(TILE * (TILE + 1));
    let mut mixed = Array::<f32>::new(room / TILE);
    let row = UNIT_POS as usize / TILE;
    let lane = UNIT_POS as usize % TILE;
    let dim = sizes.dim;
    let kv_head = CUBE_POS_Y as usize;
    let (of_keys, of_values) = (
        sizes.key_column + kv_head * dim,
        sizes.value_column + kv_head * dim,
    );
    let mut piece = CUBE_POS_X as usize;
    while piece < sizes.sequences * sizes.tiles {
        let span = piece / sizes.tiles * SPAN;
        let first_query = spans[span] as usize;
        let len = spans[span + 1] as usize;
        let first_own = spans[span + 2] as usize;
        let own_len = spans[span + 3] as usize;
        let past = spans[span + 4] as usize;
        let first_prefix = spans[span + 5] as usize;
        let prefix_len = spans[span + 6] as usize;
        let first = piece % sizes.tiles * TILE;
        let rows = len * sizes.per_kv;
        if first < rows {
            let inside = first + row < rows;
            let position = (first + row) / sizes.per_kv;
            let token = first_query + position;
            let head = kv_head * sizes.per_kv + (first + row) % sizes.per_kv;
            let mut visible = past + position + 1;
            if visible > own_len {
                visible = own_len;
            }
            let of_query = sizes.query_column + head * dim;
            load_queries::<E>(q, token, of_query, inside, dim, &mut queries, room);
            #[unroll]
            for part in 0..room / TILE {
                mixed[part] = 0.0f32;
            }
            let mut largest = f32::new(LOWEST);
            let mut sum = 0.0f32;

            // What the last row of the tile sees is what the tile goes through.
            let mut last = first + TILE - 1;
            if last >= rows {
                last = rows - 1;
            }
            let mut all_visible = past + last / sizes.per_kv + 1;
            if all_visible > own_len {
                all_visible = own_len;
            }
            let prefix_tiles = prefix_len.div_ceil(TILE);
            let tiles = prefix_tiles + all_visible.div_ceil(TILE);
            for tile in 0..tiles {
                let in_prefix = tile < prefix_tiles;
                let mut start = tile * TILE;
                let mut end = prefix_len;
                if !in_prefix {
                    start = (tile - prefix_tiles) * TILE;
                    end = own_len;
                }
                sync_cube();
                if in_prefix {
                    let from = first_prefix + start;
                    load::<E>(prefix_k, from, end - start, of_keys, dim, &mut keys, room);
                } else {
                    load::<E>(
                        k,
                        first_own + start,
                        end - start,
                        of_keys,
                        dim,
                        &mut keys,
                        room,
                    );
                }
                sync_cube();
                let mut limit = prefix_len;
                if !in_prefix {
                    limit = visible;
                }
                let seen = start + lane < limit;
                let mut score = f32::new(LOWEST);
                if seen {
                    score = product(&queries, row, &keys, lane, dim, room) * sizes.scale;
                }
                scores[row * (TILE + 1) + lane] = score;
                sync_cube();
                if in_prefix {
                    let from = first_prefix + start;
                    load::<E>(prefix_v, from, end - start, of_values, dim, &mut keys, room);
                } else {
                    load::<E>(
                        v,
                        first_own + start,
                        end - start,
                        of_values,
                        dim,
                        &mut keys,
                        room,
                    );
                }
                let mut top = largest;
                for other in 0..TILE {
                    let score = scores[row * (TILE + 1) + other];
                    if score > top {
                        top = score;
                    }
                }
                let mut share = 0.0f32;
                if seen {
                    share = (score - top).exp();
                }
                shares[row * (TILE + 1) + lane] = share;
                sync_cube();
                let kept = (largest - top).exp();
                largest = top;
                sum *= kept;
                for other in 0..TILE {
                    sum += shares[row * (TILE + 1) + other];
                }
                #[unroll]
                for part in 0..room / TILE {
                    mixed[part] *= kept;
                }
                mix(&shares, &keys, &mut mixed, room);
            }
            if inside {
                let start = token * y.stride(0) + head * dim + lane;
                #[unroll]
                for part in 0..room / TILE {
                    if lane + part * TILE < dim {
                        y[start + part * TILE] = E::cast_from(mixed[part] / sum);
                    }
                }
                if lane == 0 {
                    stats[2 * (token * sizes.query_heads + head)] = largest + sum.ln();
                }
            }
            sync_cube();
        }
        piece += CUBE_COUNT_X as usize;
    }
}

/// Memory for what is mixed of queries, which are rows, and for what [`backward`](super::backward)
/// needs of it.
pub(crate) fn outputs(heads: Heads, queries: &CubeTensor) -> [CubeTensor; 2] {
    let tokens = queries.meta.shape()[0];
    let y = fresh(queries, &[tokens, heads.query * heads.dim], queries.dtype);
    [y, fresh(queries, &[tokens, heads.query, 2], DType::F32)]
}

/// Attention of the queries of some spans, written to their rows of the [`outputs`].
pub(crate) fn forward(
    layout: Layout,
    spans: &Spans,
    queries: CubeTensor,
    sides: &Sides,
    [y, stats]: &[CubeTensor; 2],
) {
    let tiles = layout.query_tiles(spans.longest[0]);
    let [keys, values] = sides.own.clone();
    let [prefix_keys, prefix_values] = sides.prefix.clone().unwrap_or_else(|| sides.own.clone());
    attend::launch(
        &y.client,
        launch::cubes_of_pairs(spans.sequences * tiles, layout.heads.kv),
        launch::cube(),
        queries.into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        prefix_keys.into_tensor_arg(),
        prefix_values.into_tensor_arg(),
        spans.table.clone().into_tensor_arg(),
        y.clone().into_tensor_arg(),
        stats.clone().into_tensor_arg(),
        layout.sizes(spans.sequences, tiles),
        layout.room(),
        element(y),
    );
}
