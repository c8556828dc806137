//! The attention of prompts and the rows behind them in LibTorch's operators.
//!
//! Queries, keys and values lie side by side in one buffer, as [`Columns`] says; the query heads
//! that share a head of keys stand one after another in the place of tokens, so that keys and values
//! are never repeated over heads. Rows get a copy of their prompt's keys and values before their own.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::TensorMetadata;
use tch::Tensor as Native;

use crate::libtorch;
use crate::libtorch::attention::{Attention, SavedAttention, causal_bias};
use crate::transformer_layer::attention::PromptsAttention;
use crate::transformer_layer::prompts_with_rows::PromptRows;

/// Sizes of heads, and where they stand in a buffer of rows `stride` apart.
#[derive(Clone, Copy)]
struct Columns {
    kv: i64,
    per_kv: i64,
    dim: i64,
    stride: i64,
}

impl Columns {
    /// Of queries, keys and values side by side.
    fn of(op: &PromptsAttention) -> Self {
        let heads = op.heads;
        let [query, kv, dim, per_kv] =
            [heads.query, heads.kv, heads.dim, heads.per_kv()].map(|size| size as i64);
        Self {
            kv,
            per_kv,
            dim,
            stride: (query + 2 * kv) * dim,
        }
    }

    /// Of queries or mixed values alone.
    fn mixed(self) -> Self {
        Self {
            stride: self.query(),
            ..self
        }
    }

    /// Width of the queries.
    fn query(self) -> i64 {
        self.kv * self.per_kv * self.dim
    }

    /// Width of the keys.
    fn key(self) -> i64 {
        self.kv * self.dim
    }

    /// Heads of sequences from a token on, `[sequences, kv, per_kv, len, dim]`.
    fn heads(self, of: &Native, first: usize, [sequences, len]: [i64; 2]) -> Native {
        let Self {
            kv,
            per_kv,
            dim,
            stride,
        } = self;
        let size = [sequences, kv, per_kv, len, dim];
        let strides = [len * stride, per_kv * dim, dim, stride, 1];
        of.as_strided(size, strides, first as i64 * stride)
    }

    /// The same with the heads that share one of keys in the place of tokens.
    fn queries(self, of: &Native, first: usize, [sequences, len]: [i64; 2]) -> Native {
        let size = [sequences, self.kv, self.per_kv * len, self.dim];
        self.heads(of, first, [sequences, len]).reshape(size)
    }

    /// Writes numbers `[sequences, kv, per_kv * len, dim]` to their heads.
    fn put(self, to: &Native, first: usize, [sequences, len]: [i64; 2], from: &Native) {
        let size = [sequences, self.kv, self.per_kv, len, self.dim];
        self.heads(to, first, [sequences, len])
            .copy_(&from.reshape(size));
    }

    /// Keys (0) or values (1) of sequences from a token on, `[sequences, kv, len, dim]`.
    fn side(self, of: &Native, side: i64, first: usize, [sequences, len]: [i64; 2]) -> Native {
        let size = [sequences, self.kv, len, self.dim];
        let strides = [len * self.stride, self.dim, self.stride, 1];
        let start = first as i64 * self.stride + self.query() + side * self.key();
        of.as_strided(size, strides, start)
    }
}

/// The sizes of a segment.
fn sizes(shape: &PromptRows) -> [i64; 4] {
    [shape.groups, shape.prompt, shape.rows, shape.len].map(|size| size as i64)
}

impl PromptsAttention {
    /// Turns queries and keys in place, backwards where asked to.
    pub(super) fn turn(&self, qkv: &Native, tokens: i64, backwards: bool) {
        let columns = Columns::of(self);
        let like = libtorch::fresh(qkv.shallow_clone());
        let tables = self
            .rotation
            .tensors_for(&libtorch::device(&like), like.dtype())
            .clone();
        let [cos, forth, back] = tables.map(|table| libtorch::unwrap(table).tensor);
        let sin = if backwards { back } else { forth };
        let size = [tokens, (columns.per_kv + 1) * columns.kv, columns.dim];
        let mut turned = qkv.as_strided(size, [columns.stride, columns.dim, 1], 0);
        let swapped = turned.roll([columns.dim / 2], [-1]);
        let _ = turned.g_mul_(&cos);
        let _ = turned.addcmul_(&swapped, &sin);
    }

    /// The attention of all tokens, `[tokens, query heads * dim]`.
    pub(super) fn mix(
        &self,
        qkv: &Native,
        tokens: i64,
        keep: bool,
    ) -> (Native, Vec<[SavedAttention; 2]>) {
        let columns = Columns::of(self);
        let masks = self.tokens.masks(|shape| {
            let [groups, prompt, rows, len] = sizes(shape);
            let of = |sequences: i64, len: i64, past: i64| {
                let heads = [sequences, columns.kv, columns.per_kv];
                libtorch::wrap(libtorch::fresh(causal_bias(qkv, heads, len, past)))
            };
            [of(groups, prompt, 0), of(groups * rows, len, prompt)]
        });
        let to = columns.mixed();
        let mixed = Native::empty([tokens, columns.query()], (qkv.kind(), qkv.device()));
        let mut saved = Vec::with_capacity(masks.len());
        for ((shape, [prompts, first]), masks) in self.tokens.places().zip(masks) {
            let [groups, prompt, rows, len] = sizes(shape);
            let [of_prompts, of_rows] = masks.clone().map(|mask| libtorch::unwrap(mask).tensor);
            let whole = [groups, prompt];
            let attention = Attention {
                queries: columns.queries(qkv, prompts, whole),
                keys: columns.side(qkv, 0, prompts, whole),
                values: columns.side(qkv, 1, prompts, whole),
                bias: Some(of_prompts),
            };
            let (result, from_prompts) = attention.run(keep);
            to.put(&mixed, prompts, whole, &result);

            // Keys and values side by side: a prompt's for each of its rows, and the rows' own.
            let (width, stride) = (2 * columns.key(), columns.stride);
            let cut = |first: usize, len: i64, strides: [i64; 2]| {
                let size = [groups, rows, len, width];
                let strides = [strides[0], strides[1], stride, 1];
                qkv.as_strided(size, strides, first as i64 * stride + columns.query())
            };
            let shared = cut(prompts, prompt, [prompt * stride, 0]);
            let own = cut(first, len, [rows * len * stride, len * stride]);
            let seen = Native::cat(&[shared, own], 2);
            let all = prompt + len;
            let side = |side: i64| {
                let size = [groups * rows, columns.kv, all, columns.dim];
                let strides = [all * width, columns.dim, width, 1];
                seen.as_strided(size, strides, side * columns.key())
            };
            let behind = [groups * rows, len];
            let attention = Attention {
                queries: columns.queries(qkv, first, behind),
                keys: side(0),
                values: side(1),
                bias: Some(of_rows),
            };
            let (result, from_rows) = attention.run(keep);
            to.put(&mixed, first, behind, &result);
            saved.extend(from_prompts.zip(from_rows).map(|(a, b)| [a, b]));
        }
        (mixed, saved)
    }

    /// The gradient of queries, keys and values side by side, before their rotation.
    pub(super) fn unmix(
        &self,
        saved: &[[SavedAttention; 2]],
        grad: &Native,
        tokens: i64,
    ) -> Native {
        let columns = Columns::of(self);
        let from = columns.mixed();
        let kind = grad.kind();
        let out = Native::empty([tokens, columns.stride], (kind, grad.device()));
        for ((shape, [prompts, first]), [of_prompts, of_rows]) in self.tokens.places().zip(saved) {
            let [groups, prompt, rows, len] = sizes(shape);
            let (whole, behind) = ([groups, prompt], [groups * rows, len]);
            let [queries, keys, values] = of_rows.backward(&from.queries(grad, first, behind));
            columns.put(&out, first, behind, &queries);
            let [of_queries, of_keys, of_values] =
                of_prompts.backward(&from.queries(grad, prompts, whole));
            columns.put(&out, prompts, whole, &of_queries);
            for (side, from_rows, from_prompts) in [(0, keys, of_keys), (1, values, of_values)] {
                columns
                    .side(&out, side, first, behind)
                    .copy_(&from_rows.narrow(2, prompt, len));
                let size = [groups, rows, columns.kv, prompt + len, columns.dim];
                let shared = from_rows.reshape(size).narrow(3, 0, prompt);
                let shared = shared.sum_dim_intlist(1, false, kind);
                columns
                    .side(&out, side, prompts, whole)
                    .copy_(&(from_prompts + shared));
            }
        }
        self.turn(&out, tokens, true);
        out
    }
}
