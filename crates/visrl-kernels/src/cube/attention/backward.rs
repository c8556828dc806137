//! The gradient.
#![allow(clippy::too_many_arguments)] // Those of kernels are what they bind.

use cubecl::prelude::*;

use super::sizes::{Layout, SPAN, Sides, Sizes, Spans};
use super::tiles::{TILE, load, load_queries, mix, product};
use crate::cube::launch::{self, WIDTH};
use crate::cube::tensors::{CubeTensor, element, fresh, rows};

/// The product of what was mixed and its gradient, for each query row, beside the logarithm of its
/// sum.
#[cube(launch)]
fn products<E: Float>(
    y: &Tensor<E>,
    grad: &Tensor<E>,
    stats: &mut Tensor<f32>,
    heads: usize,
    dim: usize,
    #[define(E)] _format: ElemType,
) {
    let mut at = ABSOLUTE_POS;
    while at < y.shape(0) * heads {
        let (token, column) = (at / heads, at % heads * dim);
        let mut sum = 0.0f32;
        for place in column..column + dim {
            let own = f32::cast_from(y[token * y.stride(0) + place]);
            sum += own * f32::cast_from(grad[token * grad.stride(0) + place]);
        }
        stats[2 * at + 1] = sum;
        at += CUBE_COUNT as usize * WIDTH;
    }
}

/// The gradient of queries: with p the probabilities and d p the products of the result's gradient
/// and the values, `d s = p (d p - sum(p d p))` and `d q = scale d s k`.
#[cube(launch)]
fn query_gradient<E: Float>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    prefix_k: &Tensor<E>,
    prefix_v: &Tensor<E>,
    spans: &Tensor<u32>,
    grad: &Tensor<E>,
    stats: &Tensor<f32>,
    d_q: &mut Tensor<E>,
    sizes: &Sizes,
    #[comptime] room: usize,
    #[define(E)] _format: ElemType,
) {
    let mut queries = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut grads = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut keys = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut d_scores = Shared::<[f32]>::new_slice(TILE * (TILE + 1));
    let mut sums = Array::<f32>::new(room / TILE);
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
            load_queries::<E>(grad, token, head * dim, inside, dim, &mut grads, room);
            let mut log_sum = 0.0f32;
            let mut along = 0.0f32;
            if inside {
                let at = 2 * (token * sizes.query_heads + head);
                log_sum = stats[at];
                along = stats[at + 1];
            }
            #[unroll]
            for part in 0..room / TILE {
                sums[part] = 0.0f32;
            }
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
                let mut limit = prefix_len;
                if !in_prefix {
                    start = (tile - prefix_tiles) * TILE;
                    end = own_len;
                    limit = visible;
                }
                let seen = inside && start + lane < limit;
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
                sync_cube();
                let d_share = product(&grads, row, &keys, lane, dim, room);
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
                let mut d_score = 0.0f32;
                if seen {
                    let score = product(&queries, row, &keys, lane, dim, room) * sizes.scale;
                    d_score = (score - log_sum).exp() * (d_share - along);
                }
                d_scores[row * (TILE + 1) + lane] = d_score;
                sync_cube();
                mix(&d_scores, &keys, &mut sums, room);
            }
            if inside {
                let start = token * d_q.stride(0) + head * dim + lane;
                #[unroll]
                for part in 0..room / TILE {
                    if lane + part * TILE < dim {
                        d_q[start + part * TILE] = E::cast_from(sums[part] * sizes.scale);
                    }
                }
            }
            sync_cube();
        }
        piece += CUBE_COUNT_X as usize;
    }
}

/// The gradients of keys and values, summed over the queries that see them: `d k = scale d s q` and
/// `d v = p d y`. The keys are those of sequences or, where `sharing` is not 0, of the prefixes that
/// so many sequences share.
#[cube(launch)]
fn key_gradients<E: Float>(
    q: &Tensor<E>,
    k: &Tensor<E>,
    v: &Tensor<E>,
    spans: &Tensor<u32>,
    grad: &Tensor<E>,
    stats: &Tensor<f32>,
    d_k: &mut Tensor<E>,
    d_v: &mut Tensor<E>,
    sizes: &Sizes,
    sharing: usize,
    #[comptime] room: usize,
    #[define(E)] _format: ElemType,
) {
    let mut keys = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut values = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut queries = Shared::<[f32]>::new_slice(TILE * (room + 1));
    let mut shares = Shared::<[f32]>::new_slice(TILE * (TILE + 1));
    let mut d_scores = Shared::<[f32]>::new_slice(TILE * (TILE + 1));
    let mut of_key = Array::<f32>::new(room / TILE);
    let mut of_value = Array::<f32>::new(room / TILE);
    let row = UNIT_POS as usize / TILE;
    let lane = UNIT_POS as usize % TILE;
    let dim = sizes.dim;
    let kv_head = CUBE_POS_Y as usize;
    let (of_keys, of_values) = (
        sizes.key_column + kv_head * dim,
        sizes.value_column + kv_head * dim,
    );
    let mut count = sharing;
    if count == 0 {
        count = 1usize;
    }
    let mut piece = CUBE_POS_X as usize;
    while piece < sizes.sequences / count * sizes.tiles {
        let first_span = piece / sizes.tiles * count;
        let mut first_key = spans[first_span * SPAN + 2] as usize;
        let mut key_count = spans[first_span * SPAN + 3] as usize;
        if sharing > 0 {
            first_key = spans[first_span * SPAN + 5] as usize;
            key_count = spans[first_span * SPAN + 6] as usize;
        }
        let start = piece % sizes.tiles * TILE;
        if start < key_count {
            load::<E>(
                k,
                first_key + start,
                key_count - start,
                of_keys,
                dim,
                &mut keys,
                room,
            );
            load::<E>(
                v,
                first_key + start,
                key_count - start,
                of_values,
                dim,
                &mut values,
                room,
            );
            #[unroll]
            for part in 0..room / TILE {
                of_key[part] = 0.0f32;
                of_value[part] = 0.0f32;
            }
            for span in first_span..first_span + count {
                let first_query = spans[span * SPAN] as usize;
                let len = spans[span * SPAN + 1] as usize;
                let past = spans[span * SPAN + 4] as usize;
                let rows = len * sizes.per_kv;
                for tile in 0..rows.div_ceil(TILE) {
                    // The query row that the unit loads, and the one that it multiplies.
                    let loaded = tile * TILE + row;
                    let load_token = first_query + loaded / sizes.per_kv;
                    let load_head = kv_head * sizes.per_kv + loaded % sizes.per_kv;
                    let here = loaded < rows;
                    let other = tile * TILE + lane;
                    let position = other / sizes.per_kv;
                    let at = 2
                        * ((first_query + position) * sizes.query_heads
                            + kv_head * sizes.per_kv
                            + other % sizes.per_kv);
                    let mut seen = other < rows && start + row < key_count;
                    if sharing == 0 && start + row > past + position {
                        seen = false;
                    }
                    let of_query = sizes.query_column + load_head * dim;
                    sync_cube();
                    load_queries::<E>(q, load_token, of_query, here, dim, &mut queries, room);
                    sync_cube();
                    let mut share = 0.0f32;
                    if seen {
                        let score = product(&keys, row, &queries, lane, dim, room) * sizes.scale;
                        share = (score - stats[at]).exp();
                    }
                    shares[row * (TILE + 1) + lane] = share;
                    sync_cube();
                    let of_grad = load_head * dim;
                    load_queries::<E>(grad, load_token, of_grad, here, dim, &mut queries, room);
                    sync_cube();
                    let mut d_score = 0.0f32;
                    if seen {
                        let d_share = product(&values, row, &queries, lane, dim, room);
                        d_score = share * (d_share - stats[at + 1]);
                    }
                    d_scores[row * (TILE + 1) + lane] = d_score;
                    mix(&shares, &queries, &mut of_value, room);
                    sync_cube();
                    load_queries::<E>(q, load_token, of_query, here, dim, &mut queries, room);
                    sync_cube();
                    mix(&d_scores, &queries, &mut of_key, room);
                }
            }
            if start + row < key_count {
                let at = (first_key + start + row) * d_k.stride(0) + kv_head * dim + lane;
                #[unroll]
                for part in 0..room / TILE {
                    if lane + part * TILE < dim {
                        d_k[at + part * TILE] = E::cast_from(of_key[part] * sizes.scale);
                        d_v[at + part * TILE] = E::cast_from(of_value[part]);
                    }
                }
            }
            sync_cube();
        }
        piece += CUBE_COUNT_X as usize;
    }
}

/// The gradients of queries, of keys and values, and of those of prefixes, which `sharing` sequences
/// share each. `found` is what [`forward`](super::forward) gave.
pub(crate) fn backward(
    layout: Layout,
    spans: &Spans,
    queries: CubeTensor,
    sides: &Sides,
    [y, stats]: [CubeTensor; 2],
    grad: CubeTensor,
    sharing: usize,
) -> (CubeTensor, [CubeTensor; 2], Option<[CubeTensor; 2]>) {
    let heads = layout.heads;
    let (tokens, format) = (y.meta.shape()[0], element(&y));
    let grad = rows(grad);
    products::launch(
        &y.client,
        launch::cubes_of_units(tokens * heads.query),
        launch::cube(),
        y.clone().into_tensor_arg(),
        grad.clone().into_tensor_arg(),
        stats.clone().into_tensor_arg(),
        heads.query,
        heads.dim,
        format,
    );
    let d_queries = fresh(&y, &[tokens, heads.query * heads.dim], y.dtype);
    let tiles = layout.query_tiles(spans.longest[0]);
    let [keys, values] = sides.own.clone();
    let [prefix_keys, prefix_values] = sides.prefix.clone().unwrap_or_else(|| sides.own.clone());
    query_gradient::launch(
        &y.client,
        launch::cubes_of_pairs(spans.sequences * tiles, heads.kv),
        launch::cube(),
        queries.clone().into_tensor_arg(),
        keys.into_tensor_arg(),
        values.into_tensor_arg(),
        prefix_keys.into_tensor_arg(),
        prefix_values.into_tensor_arg(),
        spans.table.clone().into_tensor_arg(),
        grad.clone().into_tensor_arg(),
        stats.clone().into_tensor_arg(),
        d_queries.clone().into_tensor_arg(),
        layout.sizes(spans.sequences, tiles),
        layout.room(),
        format,
    );
    let of_keys = |[keys, values]: [CubeTensor; 2], longest: usize, sharing: usize| {
        let shape = [keys.meta.shape()[0], heads.kv * heads.dim];
        let [d_keys, d_values] = [(); 2].map(|()| fresh(&y, &shape, y.dtype));
        let tiles = longest.div_ceil(TILE);
        key_gradients::launch(
            &y.client,
            launch::cubes_of_pairs(spans.sequences / sharing.max(1) * tiles, heads.kv),
            launch::cube(),
            queries.clone().into_tensor_arg(),
            keys.into_tensor_arg(),
            values.into_tensor_arg(),
            spans.table.clone().into_tensor_arg(),
            grad.clone().into_tensor_arg(),
            stats.clone().into_tensor_arg(),
            d_keys.clone().into_tensor_arg(),
            d_values.clone().into_tensor_arg(),
            layout.sizes(spans.sequences, tiles),
            sharing,
            layout.room(),
            format,
        );
        [d_keys, d_values]
    };
    let own = of_keys(sides.own.clone(), spans.longest[1], 0);
    let prefix = sides.prefix.clone();
    let prefix = prefix.map(|pair| of_keys(pair, spans.longest[2], sharing));
    (d_queries, own, prefix)
}
