//! Linear maps in tensor operations.

use burn::tensor::Tensor;

pub(super) fn linear(x: Tensor<2>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<2> {
    burn::tensor::module::linear(x, weight, bias)
}
