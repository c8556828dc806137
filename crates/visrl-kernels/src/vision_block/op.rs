use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};
use crate::self_attention::SelfAttention;
use crate::whole_layer;

/// What a block of Qwen2-VL's vision tower does: layer norm, attention within frames, layer norm,
/// and a feed-forward part with the quick GELU.
#[derive(Clone, Debug)]
pub struct VisionBlock {
    /// The attention.
    pub attention: SelfAttention,
    /// Added to the variance of both norms.
    pub epsilon: f64,
}

/// The weights of a [`VisionBlock`] with their biases; matrices are `[in, out]`.
#[derive(Clone, Debug)]
pub struct VisionBlockWeights {
    /// Of the norms before the attention and before the feed-forward part.
    pub norms: [(Tensor<1>, Tensor<1>); 2],
    /// Of queries, keys and values side by side, of the attention's output, and of the two layers
    /// of the feed-forward part.
    pub linear: [(Tensor<2>, Tensor<1>); 4],
}

impl Operation<13> for VisionBlock {
    const FORMS: &'static [Form<Self, 13>] = &[
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 13>,
    ];
}

impl VisionBlock {
    /// Whether there is a form that does more than put the block's operations one after another.
    pub fn has_form(like: &Tensor<2>) -> bool {
        whole_layer::has_form(like)
    }

    /// The states after the block, `[patches, width]`, from those before it.
    pub fn apply(&self, states: Tensor<2>, weights: VisionBlockWeights) -> Tensor<2> {
        let VisionBlockWeights {
            norms: [norm_1, norm_2],
            linear: [qkv, output, first, second],
        } = weights;
        let inputs = [
            states.into_dispatch(),
            norm_1.0.into_dispatch(),
            norm_1.1.into_dispatch(),
            qkv.0.into_dispatch(),
            qkv.1.into_dispatch(),
            output.0.into_dispatch(),
            output.1.into_dispatch(),
            norm_2.0.into_dispatch(),
            norm_2.1.into_dispatch(),
            first.0.into_dispatch(),
            first.1.into_dispatch(),
            second.0.into_dispatch(),
            second.1.into_dispatch(),
        ];
        run(self, inputs).unwrap_or_else(|inputs| {
            let [x, g1, b1, wqkv, bqkv, wo, bo, g2, b2, w1, c1, w2, c2] = inputs;
            let matrix = Tensor::<2>::from_dispatch;
            let vector = Tensor::<1>::from_dispatch;
            let weights = VisionBlockWeights {
                norms: [(vector(g1), vector(b1)), (vector(g2), vector(b2))],
                linear: [
                    (matrix(wqkv), vector(bqkv)),
                    (matrix(wo), vector(bo)),
                    (matrix(w1), vector(c1)),
                    (matrix(w2), vector(c2)),
                ],
            };
            plain::vision_block(self, matrix(x), weights)
        })
    }
}
