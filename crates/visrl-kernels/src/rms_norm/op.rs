use burn::nn::RmsNorm;
use burn::tensor::{DType, Tensor};

use super::plain;
use crate::forms::{Form, Operation, run};

/// The operation on rows and weights.
#[cfg_attr(
    not(any(feature = "flex", feature = "cubecl", feature = "tch")),
    allow(dead_code)
)] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct RootMeanSquare {
    pub(super) epsilon: f64,
    /// The format of `x`: rows of 16 bits are rounded before the weights multiply them, as
    /// transformers does.
    pub(super) dtype: DType,
}

impl Operation<2> for RootMeanSquare {
    const FORMS: &'static [Form<Self, 2>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 2>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 2>,
        #[cfg(feature = "cubecl")]
        crate::forms::on::<crate::cube::Cube, _, 2>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 2>,
    ];
}

/// `x / sqrt(mean(x^2) + epsilon) * gamma` for each row of `x`.
pub fn rms_norm(norm: &RmsNorm, x: Tensor<2>) -> Tensor<2> {
    let op = RootMeanSquare {
        epsilon: norm.epsilon,
        dtype: x.dtype(),
    };
    let inputs = [x.into_dispatch(), norm.gamma.val().into_dispatch()];
    run(&op, inputs).unwrap_or_else(|[x, _]| plain::rms_norm(norm, Tensor::from_dispatch(x)))
}
