//! The block as operations one after another.

use burn::tensor::Tensor;

use super::op::{VisionBlock, VisionBlockWeights};
use crate::gelu::Gelu;
use crate::linear::linear;

pub(super) fn vision_block(
    op: &VisionBlock,
    x: Tensor<2>,
    weights: VisionBlockWeights,
) -> Tensor<2> {
    let [norm_1, norm_2] = weights.norms;
    let [qkv, output, first, second] = weights.linear;
    let dense =
        |x: Tensor<2>, (weight, bias): (Tensor<2>, Tensor<1>)| linear(x, weight, Some(bias));
    let normed = layer_norm(op, x.clone(), norm_1);
    let mixed = op.attention.apply(dense(normed, qkv));
    let x = x + dense(mixed, output);
    let normed = layer_norm(op, x.clone(), norm_2);
    x + dense(Gelu::Quick.apply(dense(normed, first)), second)
}

fn layer_norm(op: &VisionBlock, x: Tensor<2>, (gamma, beta): (Tensor<1>, Tensor<1>)) -> Tensor<2> {
    let centred = x.clone() - x.mean_dim(1);
    let variance = centred.clone().square().mean_dim(1);
    centred / (variance + op.epsilon).sqrt() * gamma.unsqueeze() + beta.unsqueeze()
}
