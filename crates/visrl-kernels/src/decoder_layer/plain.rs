//! The layer as operations one after another.

use burn::tensor::Tensor;

use super::op::{DecoderLayer, DecoderLayerWeights};
use crate::attention::{Segment, attend};
use crate::linear::linear;
use crate::silu_mul::silu_mul;

pub(super) fn decoder_layer(
    op: &DecoderLayer,
    x: Tensor<2>,
    weights: DecoderLayerWeights,
) -> Tensor<2> {
    let [norm_1, norm_2] = weights.norms;
    let normed = rms_norm(op, x.clone(), norm_1);
    let [queries, keys, values] = weights
        .projections
        .map(|(weight, bias)| linear(normed.clone(), weight, Some(bias)));
    let (queries, keys) = (op.rotation.apply(queries), op.rotation.apply(keys));
    let x = x + linear(mixed(op, queries, [keys, values]), weights.output, None);
    let normed = rms_norm(op, x.clone(), norm_2);
    let [gate, up, down] = weights.feed_forward;
    let inner = silu_mul(linear(normed.clone(), gate, None), linear(normed, up, None));
    x + linear(inner, down, None)
}

fn rms_norm(op: &DecoderLayer, x: Tensor<2>, gamma: Tensor<1>) -> Tensor<2> {
    let mean = x.clone().square().mean_dim(1);
    x / (mean + op.epsilon).sqrt() * gamma.unsqueeze()
}

/// The attention of prompts, then that of the rows behind them.
fn mixed(op: &DecoderLayer, queries: Tensor<2>, pair: [Tensor<2>; 2]) -> Tensor<2> {
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
            let mixed = attend(op.heads, &[segment], queries);
            (mixed, own)
        };
        let (mixed, prefix) = attended(None, prompts, 1, shape.prompt);
        of_prompts.push(mixed);
        of_rows.push(attended(Some(&prefix), rows, shape.rows, shape.len).0);
    }
    of_prompts.append(&mut of_rows);
    Tensor::cat(of_prompts, 0)
}
