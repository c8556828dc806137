//! Which tensors the forms of whole layers take.

use burn::tensor::Tensor;

type Takes = fn(&Tensor<2>) -> bool;

/// The backends with forms of whole layers.
const TAKES: &[Takes] = &[
    #[cfg(feature = "tch")]
    crate::forms::takes::<crate::libtorch::LibTorch, 2>,
];

/// Whether a backend that has forms of whole layers takes a tensor.
pub(crate) fn has_form(like: &Tensor<2>) -> bool {
    TAKES.iter().any(|takes| takes(like))
}
