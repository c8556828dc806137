//! The block in LibTorch's operators, recorded as one operation.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use tch::Tensor as Native;

use super::op::VisionBlock;
use crate::forms::Fused;
use crate::libtorch::attention::SavedAttention;
use crate::libtorch::shim::{self, BelowAutograd};
use crate::libtorch::{self, LibTorch, Torch};

/// The quick GELU is `silu(SLOPE x) / SLOPE`.
const SLOPE: f64 = 1.702;

/// What the gradient needs.
#[derive(Clone, Debug)]
pub struct Saved {
    /// Of the first norm with its bias, queries to values, the attention's output, the second norm
    /// with its bias, and both layers of the feed-forward part.
    weights: [Torch; 8],
    /// States before the block and after the attention.
    states: [Torch; 2],
    /// Means and scales of both.
    moments: [[Torch; 2]; 2],
    /// Both after their norms.
    normed: [Torch; 2],
    /// Of runs of equal length.
    attention: Vec<SavedAttention>,
    mixed: Torch,
    /// What the activation takes, times its slope, and what it gives.
    inner: [Torch; 2],
}

impl VisionBlock {
    fn run_block(&self, inputs: [Torch; 13], keep: bool) -> (Torch, Option<Saved>) {
        let _below = BelowAutograd::new();
        let [x, g1, b1, wqkv, bqkv, wo, bo, g2, b2, w1, c1, w2, c2] = inputs;
        let size = x.tensor.size();
        let (tokens, width) = (size[0], size[1]);
        let norm = |x: &Native, gamma: &Torch, beta: &Torch| {
            let (gamma, beta) = (Some(&gamma.tensor), Some(&beta.tensor));
            x.native_layer_norm([width], gamma, beta, self.epsilon)
        };
        let (normed_1, mean_1, scale_1) = norm(&x.tensor, &g1, &b1);
        let qkv = bqkv.tensor.addmm(&normed_1, &wqkv.tensor);
        self.attention.turn(&qkv, tokens, false);
        let (mixed, attention) = self.attention.mix(&qkv, keep);
        let mut middle = bo.tensor.addmm(&mixed, &wo.tensor);
        let _ = middle.g_add_(&x.tensor);
        let (normed_2, mean_2, scale_2) = norm(&middle, &g2, &b2);
        let mut steep = c1.tensor.addmm(&normed_2, &w1.tensor);
        let _ = steep.g_mul_scalar_(SLOPE);
        let mut inner = steep.silu();
        let _ = inner.g_div_scalar_(SLOPE);
        let mut output = c2.tensor.addmm(&inner, &w2.tensor);
        let _ = output.g_add_(&middle);
        let saved = keep.then(|| Saved {
            weights: [g1, b1, wqkv, wo, g2, b2, w1, w2],
            states: [x, libtorch::fresh(middle)],
            moments: [[mean_1, scale_1], [mean_2, scale_2]].map(|pair| pair.map(libtorch::fresh)),
            normed: [normed_1, normed_2].map(libtorch::fresh),
            attention,
            mixed: libtorch::fresh(mixed),
            inner: [steep, inner].map(libtorch::fresh),
        });
        (libtorch::fresh(output), saved)
    }
}

/// The gradients of the rows of a norm and of its weight and bias.
fn norm_backward(
    grad: &Native,
    x: &Torch,
    [mean, scale]: &[Torch; 2],
    [gamma, beta]: [&Torch; 2],
    wanted: [bool; 2],
) -> (Native, [Option<Torch>; 2]) {
    let moments = [&mean.tensor, &scale.tensor];
    let weights = [&gamma.tensor, &beta.tensor];
    let [of_x, of_gamma, of_beta] =
        shim::layer_norm_backward(grad, &x.tensor, moments, weights, wanted);
    let of_x = of_x.unwrap_or_else(|| unreachable!("a gradient that was asked for"));
    (of_x, [of_gamma, of_beta].map(|of| of.map(libtorch::fresh)))
}

impl Fused<LibTorch, 13> for VisionBlock {
    type Saved = Saved;

    fn forward(&self, inputs: [Torch; 13]) -> Torch {
        self.run_block(inputs, false).0
    }

    fn forward_saving(&self, inputs: [Torch; 13]) -> (Torch, Saved) {
        let (output, saved) = self.run_block(inputs, true);
        let saved = saved.unwrap_or_else(|| unreachable!("what was to be kept"));
        (output, saved)
    }

    fn backward(&self, saved: Saved, grad: Torch, wanted: [bool; 13]) -> [Option<Torch>; 13] {
        let _below = BelowAutograd::new();
        let [g1, b1, wqkv, wo, g2, b2, w1, w2] = &saved.weights;
        let [x, middle] = &saved.states;
        let [normed_1, normed_2] = &saved.normed;
        let [steep, inner] = &saved.inner;
        let grad = grad.tensor;
        let tokens = grad.size()[0];
        // Of a matrix and its bias, where inputs number `at` and the next are wanted.
        let dense = |at: usize, of: &Torch, grad: &Native| {
            [
                wanted[at].then(|| libtorch::fresh(of.tensor.tr().mm(grad))),
                wanted[at + 1]
                    .then(|| libtorch::fresh(grad.sum_dim_intlist(0, false, grad.kind()))),
            ]
        };
        let [d_w2, d_c2] = dense(11, inner, &grad);
        let d_inner = steep.tensor.silu_backward(&grad.mm(&w2.tensor.tr()));
        let [d_w1, d_c1] = dense(9, normed_2, &d_inner);
        let d_normed = d_inner.mm(&w1.tensor.tr());
        let of_norm = [wanted[7], wanted[8]];
        let (mut d_middle, [d_g2, d_b2]) =
            norm_backward(&d_normed, middle, &saved.moments[1], [g2, b2], of_norm);
        let _ = d_middle.g_add_(&grad);
        let [d_wo, d_bo] = dense(5, &saved.mixed, &d_middle);
        let d_mixed = d_middle.mm(&wo.tensor.tr());
        let d_qkv = self.attention.unmix(&saved.attention, &d_mixed, tokens);
        let [d_wqkv, d_bqkv] = dense(3, normed_1, &d_qkv);
        let d_normed = d_qkv.mm(&wqkv.tensor.tr());
        let of_norm = [wanted[1], wanted[2]];
        let (mut d_x, [d_g1, d_b1]) =
            norm_backward(&d_normed, x, &saved.moments[0], [g1, b1], of_norm);
        let _ = d_x.g_add_(&d_middle);
        [
            wanted[0].then(|| libtorch::fresh(d_x)),
            d_g1,
            d_b1,
            d_wqkv,
            d_bqkv,
            d_wo,
            d_bo,
            d_g2,
            d_b2,
            d_w1,
            d_c1,
            d_w2,
            d_c2,
        ]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::super::op::VisionBlockWeights;
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{compare_within, device};
    use crate::rotary::RotationTable;
    use crate::self_attention::SelfAttention;
    use crate::testing::{matrix, numbers};

    fn weights(inputs: [Tensor<2>; 12]) -> VisionBlockWeights {
        let [g1, b1, wqkv, bqkv, wo, bo, g2, b2, w1, c1, w2, c2] = inputs;
        let vector = |of: Tensor<2>| of.squeeze_dim(0);
        VisionBlockWeights {
            norms: [(vector(g1), vector(b1)), (vector(g2), vector(b2))],
            linear: [
                (wqkv, vector(bqkv)),
                (wo, vector(bo)),
                (w1, vector(c1)),
                (w2, vector(c2)),
            ],
        }
    }

    #[test]
    fn equals_the_plain_form() {
        for (heads, sizes) in [(2, vec![4, 4, 6]), (1, vec![1]), (3, vec![5, 5])] {
            let tokens: usize = sizes.iter().sum();
            let (width, inner) = (heads * 8, 20);
            // Tables stay on the device that asked first.
            let op = || VisionBlock {
                attention: SelfAttention {
                    rotation: RotationTable::new(&numbers(3, tokens * 4, 20.0), 4),
                    sizes: sizes.clone(),
                    heads,
                },
                epsilon: 1e-6,
            };
            let shapes = [
                (tokens, width, 2.0),
                (1, width, 1.0),
                (1, width, 0.5),
                (width, 3 * width, 0.5),
                (1, 3 * width, 0.5),
                (width, width, 0.4),
                (1, width, 0.5),
                (1, width, 1.0),
                (1, width, 0.5),
                (width, inner, 0.5),
                (1, inner, 0.5),
                (inner, width, 0.4),
                (1, width, 0.5),
            ];
            compare_within(
                [2e-5, 0.1],
                shapes,
                7,
                |[x, rest @ ..]| op().apply(x, weights(rest)),
                |[x, rest @ ..]| plain::vision_block(&op(), x, weights(rest)),
            );
        }
        assert!(VisionBlock::has_form(&matrix(1, 2, 2, 1.0, &device())));
    }
}
