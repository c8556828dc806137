//! The layer as operations one after another.

use burn::tensor::Tensor;

use super::attention::{LayerAttention, PromptsAttention};
use super::op::TransformerLayer;
use super::weights::{FeedForward, LayerWeights, LinearWeights, NormWeights, Projections};
use crate::attention::{Segment, attend};
use crate::heads::Heads;
use crate::linear::linear;
use crate::silu_mul::silu_mul;

pub(super) fn layer(op: &TransformerLayer, x: Tensor<2>, weights: LayerWeights) -> Tensor<2> {
    let heads = op.attention.heads();
    let [norm_1, norm_2] = weights.norms;
    let normed = norm(x.clone(), norm_1, op.epsilon);
    let projections = match weights.projections {
        Projections::Joined(all) => vec![all],
        Projections::Apart(parts) => parts.to_vec(),
    };
    let parts = projections.into_iter().map(|of| dense(normed.clone(), of));
    let qkv = Tensor::cat(parts.collect(), 1);
    let (all, width) = (heads.query * heads.dim, heads.kv * heads.dim);
    let part = |start: usize, width: usize| qkv.clone().narrow(1, start, width);
    let (queries, keys, values) = (part(0, all), part(all, width), part(all + width, width));
    let [queries, keys] = match weights.head_norms {
        None => [queries, keys],
        Some([of_queries, of_keys]) => {
            [(queries, of_queries), (keys, of_keys)].map(|(x, gamma)| {
                let [tokens, width] = x.dims();
                let rows = x.reshape([tokens * width / heads.dim, heads.dim]);
                let norm_of = NormWeights { gamma, beta: None };
                norm(rows, norm_of, op.epsilon).reshape([tokens, width])
            })
        }
    };
    let mixed = match &op.attention {
        LayerAttention::Runs(attention) => {
            attention.apply(Tensor::cat(vec![queries, keys, values], 1))
        }
        LayerAttention::Prompts(attention) => {
            let turned = [queries, keys].map(|side| attention.rotation.apply(side));
            let [queries, keys] = turned;
            mixed(attention, heads, queries, [keys, values])
        }
    };
    let x = x + dense(mixed, weights.output);
    let normed = norm(x.clone(), norm_2, op.epsilon);
    x + match weights.feed_forward {
        FeedForward::Plain(activation, [first, second]) => {
            dense(activation.apply(dense(normed, first)), second)
        }
        FeedForward::Gated([gate, up, down]) => dense(
            silu_mul(dense(normed.clone(), gate), dense(normed, up)),
            down,
        ),
    }
}

fn dense(x: Tensor<2>, LinearWeights { weight, bias }: LinearWeights) -> Tensor<2> {
    linear(x, weight, bias)
}

fn norm(x: Tensor<2>, NormWeights { gamma, beta }: NormWeights, epsilon: f64) -> Tensor<2> {
    let x = match beta {
        Some(_) => x.clone() - x.mean_dim(1),
        None => x,
    };
    let mean = x.clone().square().mean_dim(1);
    let normed = x / (mean + epsilon).sqrt() * gamma.unsqueeze();
    match beta {
        Some(beta) => normed + beta.unsqueeze(),
        None => normed,
    }
}

/// The attention of prompts, then that of the rows behind them.
fn mixed(
    op: &PromptsAttention,
    heads: Heads,
    queries: Tensor<2>,
    pair: [Tensor<2>; 2],
) -> Tensor<2> {
    let (mut of_prompts, mut of_rows) = (Vec::new(), Vec::new());
    for (shape, [prompts, rows]) in op.tokens.places() {
        let cut = |side: &Tensor<2>, first: usize, sequences: usize, len: usize| {
            let width = side.dims()[1];
            let side = side.clone().narrow(0, first, sequences * len);
            side.reshape([sequences, len, width])
        };
        let attended = |prefix: Option<&[Tensor<3>; 2]>, first: usize, rows: usize, len: usize| {
            let sequences = shape.groups * rows;
            let own = pair.each_ref().map(|side| cut(side, first, sequences, len));
            let segment = Segment {
                groups: shape.groups,
                rows,
                len,
                prefix,
                own: &own,
                own_len: len,
            };
            let queries = queries.clone().narrow(0, first, sequences * len);
            let mixed = attend(heads, &[segment], queries);
            (mixed, own)
        };
        let (mixed, prefix) = attended(None, prompts, 1, shape.prompt);
        of_prompts.push(mixed);
        of_rows.push(attended(Some(&prefix), rows, shape.rows, shape.len).0);
    }
    of_prompts.append(&mut of_rows);
    Tensor::cat(of_prompts, 0)
}
