use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};

/// The activations of vision towers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gelu {
    /// `x sigmoid(1.702 x)`.
    Quick,
    /// `x (1 + erf(x / sqrt(2))) / 2`.
    Exact,
    /// `x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2`, PyTorch's `gelu_pytorch_tanh`.
    Tanh,
}

/// `2 sqrt(2 / pi)`: with it, [`Gelu::Tanh`] is `x sigmoid(TANH_SCALE (x + TANH_CUBE x^3))`.
pub(super) const TANH_SCALE: f32 = 1.595_769;
pub(super) const TANH_CUBE: f32 = 0.044_715;

impl Operation<1> for Gelu {
    const FORMS: &'static [Form<Self, 1>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 1>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 1>,
        #[cfg(feature = "cubecl")]
        crate::forms::on::<crate::cube::Cube, _, 1>,
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
