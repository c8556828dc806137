use burn::tensor::Tensor;

use super::mask::Mask;
use super::plain;
use crate::forms::{Form, Operation, run};

#[cfg_attr(
    not(any(feature = "flex", feature = "cubecl", feature = "tch")),
    allow(dead_code)
)] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct MaskedSoftmax(pub(super) Mask);

impl Operation<1> for MaskedSoftmax {
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

/// Softmax over the last axis of scores `[.., rows, columns]`; `len` of a causal mask divides
/// `rows`.
pub fn masked_softmax<const D: usize>(scores: Tensor<D>, mask: Mask) -> Tensor<D> {
    run(&MaskedSoftmax(mask), [scores.into_dispatch()])
        .unwrap_or_else(|[scores]| plain::masked_softmax(Tensor::from_dispatch(scores), mask))
}
