use burn::tensor::Tensor;

use super::plain;
use super::prompts_with_rows::PromptsWithRows;
use crate::forms::{Form, Operation, run};
use crate::heads::Heads;
use crate::rotary::RotationTable;
use crate::whole_layer;

/// What a layer of Qwen2's decoder does: RMS norm, attention with biases and rotary positions, RMS
/// norm, and a gated feed-forward part (arXiv 2407.10671, section 2.2).
#[derive(Clone, Debug)]
pub struct DecoderLayer {
    /// The heads of the attention.
    pub heads: Heads,
    /// Added to the mean square of both norms.
    pub epsilon: f64,
    /// The rotation of queries and keys.
    pub rotation: RotationTable,
    /// The order of the tokens.
    pub tokens: PromptsWithRows,
}

/// The weights of a [`DecoderLayer`]; matrices are `[in, out]`.
#[derive(Clone, Debug)]
pub struct DecoderLayerWeights {
    /// Of the norms before the attention and before the feed-forward part.
    pub norms: [Tensor<1>; 2],
    /// Of queries, keys and values.
    pub projections: [(Tensor<2>, Tensor<1>); 3],
    /// Of the attention's output.
    pub output: Tensor<2>,
    /// Gate, up and down.
    pub feed_forward: [Tensor<2>; 3],
}

impl Operation<13> for DecoderLayer {
    const FORMS: &'static [Form<Self, 13>] = &[
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 13>,
    ];
}

impl DecoderLayer {
    /// Whether there is a form that does more than put the layer's operations one after another, so
    /// that prompts and rows should come together.
    pub fn has_form(like: &Tensor<2>) -> bool {
        whole_layer::has_form(like)
    }

    /// The states after the layer, `[tokens, hidden]`, from those before it.
    pub fn apply(&self, states: Tensor<2>, weights: DecoderLayerWeights) -> Tensor<2> {
        let DecoderLayerWeights {
            norms: [norm_1, norm_2],
            projections: [query, key, value],
            output,
            feed_forward: [gate, up, down],
        } = weights;
        let inputs = [
            states.into_dispatch(),
            norm_1.into_dispatch(),
            query.0.into_dispatch(),
            query.1.into_dispatch(),
            key.0.into_dispatch(),
            key.1.into_dispatch(),
            value.0.into_dispatch(),
            value.1.into_dispatch(),
            output.into_dispatch(),
            norm_2.into_dispatch(),
            gate.into_dispatch(),
            up.into_dispatch(),
            down.into_dispatch(),
        ];
        run(self, inputs).unwrap_or_else(|inputs| {
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
            let matrix = Tensor::<2>::from_dispatch;
            let vector = Tensor::<1>::from_dispatch;
            let weights = DecoderLayerWeights {
                norms: [vector(norm_1), vector(norm_2)],
                projections: [
                    (matrix(wq), vector(bq)),
                    (matrix(wk), vector(bk)),
                    (matrix(wv), vector(bv)),
                ],
                output: matrix(wo),
                feed_forward: [matrix(gate), matrix(up), matrix(down)],
            };
            plain::decoder_layer(self, matrix(x), weights)
        })
    }
}
