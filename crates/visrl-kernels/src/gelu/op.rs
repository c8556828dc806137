use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};

/// The activations of vision towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gelu {
    /// `x sigmoid(1.702 x)`.
    Quick,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Exact,
}

impl Operation<1> for Gelu {
    const FORMS: &'static [Form<Self, 1>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 1>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 1>,
    ];
}

impl Gelu {
    /// Applies the activation to each number.
    pub fn apply<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        run(&self, [x.into_dispatch()])
            .unwrap_or_else(|[x]| plain::gelu(self, Tensor::from_dispatch(x)))
    }
}
