use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};

#[derive(Clone, Debug)]
pub(super) struct SiluMul;

impl Operation<2> for SiluMul {
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

/// `silu(gate) * up`, with `silu(x) = x sigmoid(x)`, for tensors of one shape.
pub fn silu_mul<const D: usize>(gate: Tensor<D>, up: Tensor<D>) -> Tensor<D> {
    run(&SiluMul, [gate, up].map(Tensor::into_dispatch)).unwrap_or_else(|inputs| {
        let [gate, up] = inputs.map(Tensor::from_dispatch);
        plain::silu_mul(gate, up)
    })
}
