use burn::tensor::Tensor;

use super::plain;
use crate::forms::{Form, Operation, run};

/// Up to this many rows, a row's result in a linear map does not depend on the rows beside it (f32
/// on the flex backend).
pub const FEW_ROWS: usize = 96;

/// A product without or with a bias, by the number of inputs.
#[derive(Clone, Debug)]
pub(super) struct Linear;

impl Operation<2> for Linear {
    const FORMS: &'static [Form<Self, 2>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 2>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 2>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 2>,
    ];
}

impl Operation<3> for Linear {
    const FORMS: &'static [Form<Self, 3>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 3>,
        #[cfg(feature = "flex")]
        crate::flex::in_f32::<_, 3>,
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 3>,
    ];
}

/// A product that is added to the first input.
#[cfg_attr(not(feature = "tch"), allow(dead_code))] // Forms read it.
#[derive(Clone, Debug)]
pub(super) struct LinearOnto;

impl Operation<3> for LinearOnto {
    const FORMS: &'static [Form<Self, 3>] = &[
        #[cfg(feature = "tch")]
        crate::forms::on::<crate::libtorch::LibTorch, _, 3>,
    ];
}

/// `x W + y` for `x` `[tokens, in]`, `W` `[in, out]` and `y` `[tokens, out]`, in the memory of `y`
/// where that can be.
pub fn linear_onto(y: Tensor<2>, x: Tensor<2>, weight: Tensor<2>) -> Tensor<2> {
    run(&LinearOnto, [y, x, weight].map(Tensor::into_dispatch)).unwrap_or_else(|inputs| {
        let [y, x, weight] = inputs.map(Tensor::from_dispatch);
        y + linear(x, weight, None)
    })
}

/// `x W + b` for `x` `[tokens, in]`, `W` `[in, out]` and `b` `[out]`.
pub fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    let [x, weight] = [x, weight].map(Tensor::into_dispatch);
    match bias {
        None => run(&Linear, [x, weight]).unwrap_or_else(|pair| {
            let [x, weight] = pair.map(Tensor::from_dispatch);
            plain::linear(x, weight, None)
        }),
        Some(bias) => {
            run(&Linear, [x, weight, bias.into_dispatch()]).unwrap_or_else(|[x, weight, bias]| {
                let [x, weight] = [x, weight].map(Tensor::from_dispatch);
                plain::linear(x, weight, Some(Tensor::from_dispatch(bias)))
            })
        }
    }
}

/// The product of two matrices, whatever their layout.
pub fn matmul(a: Tensor<2>, b: Tensor<2>) -> Tensor<2> {
    linear(a, b, None)
}
