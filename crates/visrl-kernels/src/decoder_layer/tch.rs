//! The layer in LibTorch's operators, recorded as one operation.
//!
//! Queries, keys and values lie side by side in one buffer, as [`Columns`] says; the query heads
//! that share a head of keys stand one after another in the place of tokens, so that keys and values
//! are never repeated over heads. Rows get a copy of their prompt's keys and values before their own.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::backend::TensorMetadata;
use tch::Tensor as Native;

use super::op::DecoderLayer;
use super::prompts_with_rows::PromptRows;
use crate::forms::Fused;
use crate::libtorch::attention::{Attention, SavedAttention, causal_bias};
use crate::libtorch::shim::{self, BelowAutograd};
use crate::libtorch::{self, LibTorch, Torch};

/// What the gradient needs.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Of the first norm, the attention's output, the second norm, gate, up and down.
    weights: [Torch; 6],
    /// The weights of queries, keys and values side by side.
    projections: Torch,
    /// States before the layer and after the attention.
    states: [Torch; 2],
    /// One over the root mean squares of both.
    scales: [Torch; 2],
    /// Both after their norms.
    normed: [Torch; 2],
    /// Of prompts and of rows, segment by segment.
    attention: Vec<[SavedAttention; 2]>,
    mixed: Torch,
    gate: Torch,
    up: Torch,
    inner: Torch,
}

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
    fn of(op: &DecoderLayer) -> Self {
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

impl DecoderLayer {
    /// Turns queries and keys in place, backwards where asked to.
    fn turn(&self, columns: Columns, qkv: &Native, tokens: i64, backwards: bool) {
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
    fn mix(&self, qkv: &Native, tokens: i64, keep: bool) -> (Native, Vec<[SavedAttention; 2]>) {
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
    fn unmix(&self, saved: &[[SavedAttention; 2]], grad: &Native, tokens: i64) -> Native {
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
        self.turn(columns, &out, tokens, true);
        out
    }

    fn run_layer(&self, inputs: [Torch; 13], keep: bool) -> (Torch, Option<Saved>) {
        let _below = BelowAutograd::new();
        let [
            x,
            norm_1,
            wq,
            bq,
            wk,
            bk,
            wv,
            bv,
            wo,
            norm_2,
            gate,
            up,
            down,
        ] = inputs;
        let tokens = x.tensor.size()[0];
        let norm = |x: &Native, gamma: &Torch| shim::rms_norm(x, &gamma.tensor, self.epsilon, keep);
        let (normed_1, scale_1) = norm(&x.tensor, &norm_1);
        let projections = Native::cat(&[&wq.tensor, &wk.tensor, &wv.tensor], 1);
        let biases = Native::cat(&[&bq.tensor, &bk.tensor, &bv.tensor], 0);
        let qkv = biases.addmm(&normed_1, &projections);
        self.turn(Columns::of(self), &qkv, tokens, false);
        let (mixed, attention) = self.mix(&qkv, tokens, keep);
        let middle = x.tensor.addmm(&mixed, &wo.tensor);
        let (normed_2, scale_2) = norm(&middle, &norm_2);
        let of_gate = normed_2.mm(&gate.tensor);
        let of_up = normed_2.mm(&up.tensor);
        let mut inner = of_gate.silu();
        let _ = inner.g_mul_(&of_up);
        let output = libtorch::fresh(middle.addmm(&inner, &down.tensor));
        let saved = keep.then(|| Saved {
            weights: [norm_1, wo, norm_2, gate, up, down],
            projections: libtorch::fresh(projections),
            states: [x, libtorch::fresh(middle)],
            scales: [scale_1, scale_2].map(|of| libtorch::fresh(shim::written(of))),
            normed: [normed_1, normed_2].map(libtorch::fresh),
            attention,
            mixed: libtorch::fresh(mixed),
            gate: libtorch::fresh(of_gate),
            up: libtorch::fresh(of_up),
            inner: libtorch::fresh(inner),
        });
        (output, saved)
    }
}

/// The gradient of the rows of a norm and of its weight.
fn norm_backward(
    grad: &Native,
    [x, scale, gamma]: [&Torch; 3],
    wanted: bool,
) -> (Native, Option<Torch>) {
    let [of_x, of_gamma] =
        shim::rms_norm_backward(grad, &x.tensor, &scale.tensor, &gamma.tensor, wanted);
    (shim::written(of_x), of_gamma.map(libtorch::fresh))
}

impl Fused<LibTorch, 13> for DecoderLayer {
    type Saved = Saved;

    fn forward(&self, inputs: [Torch; 13]) -> Torch {
        self.run_layer(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Torch; 13]) -> (Torch, Saved) {
        let (output, saved) = self.run_layer(inputs, true);
        let saved = saved.unwrap_or_else(|| unreachable!("what was to be kept"));
        (output, saved)
    }

    fn backward(&self, saved: Saved, grad: Torch, wanted: [bool; 13]) -> [Option<Torch>; 13] {
        let _below = BelowAutograd::new();
        let [norm_1, wo, norm_2, gate, up, down] = &saved.weights;
        let [x, middle] = &saved.states;
        let [scale_1, scale_2] = &saved.scales;
        let [normed_1, normed_2] = &saved.normed;
        let (of_gate, of_up) = (&saved.gate.tensor, &saved.up.tensor);
        let grad = grad.tensor;
        let tokens = grad.size()[0];
        let product = |wanted: bool, of: &Native, grad: &Native| {
            wanted.then(|| libtorch::fresh(of.tr().mm(grad)))
        };

        // The feed-forward part.
        let d_down = product(wanted[12], &saved.inner.tensor, &grad);
        let mut d_gate = grad.mm(&down.tensor.tr());
        let d_up = &d_gate * of_gate.silu();
        let _ = d_gate.g_mul_(of_up);
        let d_gate = of_gate.silu_backward(&d_gate);
        let turned = normed_2.tensor.tr();
        let of_up = wanted[11].then(|| libtorch::fresh(turned.mm(&d_up)));
        let of_gate = wanted[10].then(|| libtorch::fresh(turned.mm(&d_gate)));
        let mut d_normed = d_up.mm(&up.tensor.tr());
        let _ = d_normed.addmm_(&d_gate, &gate.tensor.tr());
        let (mut d_middle, d_norm_2) =
            norm_backward(&d_normed, [middle, scale_2, norm_2], wanted[9]);
        let _ = d_middle.g_add_(&grad);

        // The attention.
        let d_output = product(wanted[8], &saved.mixed.tensor, &d_middle);
        let d_mixed = d_middle.mm(&wo.tensor.tr());
        let d_qkv = self.unmix(&saved.attention, &d_mixed, tokens);
        let columns = Columns::of(self);
        let widths = [columns.query(), columns.key(), columns.key()];
        let mut of_weights = [None, None, None];
        if wanted[2] || wanted[4] || wanted[6] {
            let turned = normed_1.tensor.tr();
            let parts = d_qkv.split_with_sizes(widths, 1);
            for (at, part) in parts.iter().enumerate() {
                of_weights[at] = wanted[2 + 2 * at].then(|| libtorch::fresh(turned.mm(part)));
            }
        }
        let mut of_biases = [None, None, None];
        if wanted[3] || wanted[5] || wanted[7] {
            let sum = d_qkv.sum_dim_intlist(0, false, d_qkv.kind());
            for (at, part) in sum.split_with_sizes(widths, 0).into_iter().enumerate() {
                of_biases[at] = wanted[3 + 2 * at].then(|| libtorch::fresh(part));
            }
        }
        let d_normed = d_qkv.mm(&saved.projections.tensor.tr());
        let (mut d_x, d_norm_1) = norm_backward(&d_normed, [x, scale_1, norm_1], wanted[1]);
        let _ = d_x.g_add_(&d_middle);
        let [wq, wk, wv] = of_weights;
        let [bq, bk, bv] = of_biases;
        [
            wanted[0].then(|| libtorch::fresh(d_x)),
            d_norm_1,
            wq,
            bq,
            wk,
            bk,
            wv,
            bv,
            d_output,
            d_norm_2,
            of_gate,
            of_up,
            d_down,
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::super::op::DecoderLayerWeights;
    use super::super::plain;
    use super::super::prompts_with_rows::PromptsWithRows;
    use super::*;
    use crate::heads::Heads;
    use crate::libtorch::testing::{compare_within, device};
    use crate::rotary::RotationTable;
    use crate::testing::{matrix, numbers};

    fn weights(inputs: [Tensor<2>; 12]) -> DecoderLayerWeights {
        let vector = |of: Tensor<2>| of.squeeze_dim(0);
        let [n1, wq, bq, wk, bk, wv, bv, wo, n2, gate, up, down] = inputs;
        DecoderLayerWeights {
            norms: [vector(n1), vector(n2)],
            projections: [(wq, vector(bq)), (wk, vector(bk)), (wv, vector(bv))],
            output: wo,
            feed_forward: [gate, up, down],
        }
    }

    #[test]
    fn equals_the_plain_form() {
        let one = |groups, prompt, rows, len| PromptRows {
            groups,
            prompt,
            rows,
            len,
        };
        let cases = [
            (4, 2, vec![one(2, 5, 3, 4), one(1, 3, 2, 2)]),
            (3, 1, vec![one(1, 9, 1, 1)]),
            (2, 2, vec![one(3, 1, 2, 3)]),
        ];
        for (query, kv, segments) in cases {
            let heads = Heads { query, kv, dim: 8 };
            let (hidden, inner, all, width) = (12, 20, query * 8, kv * 8);
            let tokens = PromptsWithRows::new(segments.clone());
            let rows: usize = segments.iter().map(PromptRows::row_tokens).sum();
            let tokens = tokens.prompt_tokens() + rows;
            // Masks and tables stay on the device that asked first.
            let op = || DecoderLayer {
                heads,
                epsilon: 1e-6,
                rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                tokens: PromptsWithRows::new(segments.clone()),
            };
            let shapes = [
                (tokens, hidden, 2.0),
                (1, hidden, 1.0),
                (hidden, all, 0.5),
                (1, all, 0.5),
                (hidden, width, 0.5),
                (1, width, 0.5),
                (hidden, width, 0.5),
                (1, width, 0.5),
                (all, hidden, 0.3),
                (1, hidden, 1.0),
                (hidden, inner, 0.5),
                (hidden, inner, 0.5),
                (inner, hidden, 0.3),
            ];
            compare_within(
                [2e-5, 0.1],
                shapes,
                7,
                |[x, rest @ ..]| op().apply(x, weights(rest)),
                |[x, rest @ ..]| plain::decoder_layer(&op(), x, weights(rest)),
            );
        }
        assert!(DecoderLayer::has_form(&matrix(1, 2, 2, 1.0, &device())));
    }
}
