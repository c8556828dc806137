use burn::backend::DispatchTensor;
use burn::tensor::Tensor;

use super::attention::LayerAttention;
use super::plain;
use super::weights::LayerWeights;
use crate::forms::{Form, Operation, run};

/// What a layer of a transformer does: `x + attention(norm(x))`, and `x + feed_forward(norm(x))` of
/// that.
///
/// Which norms, biases and feed-forward part it has, its weights say: those of the decoders of
/// Qwen2 (arXiv 2407.10671, section 2.2) and Qwen3 (arXiv 2505.09388, section 2), and of the vision
/// towers of Qwen2-VL, Qwen2.5-VL and Qwen3-VL.
#[derive(Clone, Debug)]
pub struct TransformerLayer {
    /// What tokens attend to.
    pub attention: LayerAttention,
    /// Added to the mean squares or variances of the norms.
    pub epsilon: f64,
}

/// The operation on states and a list of weights.
#[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct WholeLayer {
    pub(super) layer: TransformerLayer,
    /// The weights that the list has.
    pub(super) parts: LayerWeights<(), ()>,
}

impl<const N: usize> Operation<N> for WholeLayer {
    const FORMS: &'static [Form<Self, N>] = &[
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, N>,
    ];
}

type Takes = fn(&Tensor<2>) -> bool;

/// The backends with forms of whole layers.
const TAKES: &[Takes] = &[
    #[cfg(feature = "tch")]
    crate::forms::takes::<crate::libtorch::LibTorch, 2>,
];

/// The output, or the inputs as they were.
type Ran = Result<Tensor<2>, Vec<DispatchTensor>>;

impl TransformerLayer {
    /// Whether there is a form that does more than put the layer's operations one after another, so
    /// that prompts and rows should come together.
    pub fn has_form(like: &Tensor<2>) -> bool {
        TAKES.iter().any(|takes| takes(like))
    }

    /// The states after the layer, `[tokens, hidden]`, from those before it.
    pub fn apply(&self, states: Tensor<2>, weights: LayerWeights) -> Tensor<2> {
        let weights = weights.map(Tensor::into_dispatch, Tensor::into_dispatch);
        let (parts, list) = weights.into_list();
        let mut inputs = vec![states.into_dispatch()];
        inputs.extend(list);
        let op = WholeLayer {
            layer: self.clone(),
            parts,
        };
        op.run_any(inputs).unwrap_or_else(|inputs| {
            let mut inputs = inputs.into_iter();
            let states = inputs.next().map(Tensor::from_dispatch);
            let states = states.unwrap_or_else(|| unreachable!("the states, which came first"));
            let weights = op.parts.of_list(inputs);
            let weights = weights.map(Tensor::from_dispatch, Tensor::from_dispatch);
            plain::layer(self, states, weights)
        })
    }
}

impl WholeLayer {
    /// Runs the layer on as many inputs as there are: nine matrices and vectors that each layer has,
    /// with or without three biases and two norms of heads, or the twelve of a vision tower's.
    fn run_any(&self, inputs: Vec<DispatchTensor>) -> Ran {
        let inputs = self.run_list::<10>(inputs);
        let inputs = inputs.or_else(|inputs| self.run_list::<12>(inputs));
        let inputs = inputs.or_else(|inputs| self.run_list::<13>(inputs));
        inputs.or_else(|inputs| self.run_list::<15>(inputs))
    }

    /// The same where they are `N`.
    fn run_list<const N: usize>(&self, inputs: Vec<DispatchTensor>) -> Ran {
        let inputs: [DispatchTensor; N] = inputs.try_into()?;
        run::<2, N, _>(self, inputs).map_err(Vec::from)
    }
}
