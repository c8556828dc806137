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
    ];
}

impl Operation<3> for Linear {
    const FORMS: &'static [Form<Self, 3>] = &[
        #[cfg(feature = "flex")]
        crate::forms::on::<burn::backend::Flex, _, 3>,
    ];
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
