use burn::tensor::Tensor;

use super::plain;
use super::table::RotationTable;
use crate::forms::{Form, Operation, run};

impl Operation<1> for RotationTable {
    const FORMS: &'static [Form<Self, 1>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 1>,
        #[cfg(feature = "cubecl")]
        crate::forms::on::<crate::cube::Cube, _, 1>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 1>,
    ];
}

impl RotationTable {
    /// Turns the heads of `x`, `[tokens, heads * 2 half]`.
    pub fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        run(self, [x.into_dispatch()])
            .unwrap_or_else(|[x]| plain::rotate(self, Tensor::from_dispatch(x)))
    }
}
