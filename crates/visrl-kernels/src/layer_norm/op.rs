use burn::nn::LayerNorm;
use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};

/// The operation on rows, weights and biases.
#[cfg_attr(
    not(any(feature = "flex", feature = "cubecl", feature = "tch")),
    allow(dead_code)
)] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct Standardize {
    pub(super) epsilon: f64,
}

impl Operation<3> for Standardize {
    const FORMS: &'static [Form<Self, 3>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 3>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 3>,
        #[cfg(feature = "cubecl")]
        crate::forms::on::<crate::cube::Cube, _, 3>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 3>,
    ];
}

/// `(x - mean) / sqrt(variance + epsilon) * gamma + beta` for each row of `x`; the plain form
/// also serves norms without `beta`. `epsilon` is that of `norm`, which does not tell it.
pub fn layer_norm(norm: &LayerNorm, epsilon: f64, x: Tensor<2>) -> Tensor<2> {
    let Some(beta) = &norm.beta else {
        return plain::layer_norm(norm, epsilon, x);
    };
    let weights = [norm.gamma.val(), beta.val()].map(Tensor::into_dispatch);
    let [gamma, beta] = weights;
    run(&Standardize { epsilon }, [x.into_dispatch(), gamma, beta])
        .unwrap_or_else(|[x, ..]| plain::layer_norm(norm, epsilon, Tensor::from_dispatch(x)))
}
