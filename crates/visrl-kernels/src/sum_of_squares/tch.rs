//! The sum in LibTorch's operators, of all tensors together.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::{DType, Tensor};
use tch::{Kind, Tensor as Native};

use crate::libtorch::{self, Torch, shim};

pub(super) fn sum_of_squares(tensors: &[&Tensor<1>]) -> Option<f64> {
    let dtype = tensors.first()?.dtype();
    let takes = |of: &&Tensor<1>| of.dtype() == dtype && libtorch::takes(of);
    if dtype == DType::BF16 || !tensors.iter().all(takes) {
        return None;
    }
    let of = tensors.iter().map(|&of| libtorch::unwrap(of.clone()));
    let of: Vec<Torch> = of.collect();
    let of: Vec<&Native> = of.iter().map(|of| &of.tensor).collect();
    let norms = shim::norms(&of)?.to_kind(Kind::Double);
    Some(norms.square().sum(Kind::Double).double_value(&[]))
}

#[cfg(test)]
mod tests {
    use super::super::plain;
    use super::*;
    use crate::libtorch::testing::{device, has_f64};
    use crate::testing::numbers;

    #[test]
    fn equals_the_plain_form() {
        let vector = |seed, len: usize| {
            Tensor::<1>::from_floats(numbers(seed, len, 3.0).as_slice(), &device())
        };
        let tensors = [vector(1, 1), vector(2, 70), vector(3, 300)];
        let (found, expected) = (
            sum_of_squares(&tensors.each_ref()).unwrap(),
            plain::sum_of_squares(&tensors.each_ref()).unwrap(),
        );
        assert!(
            (found / expected - 1.0).abs() < 1e-6,
            "{found} for {expected}"
        );
        assert!(sum_of_squares(&[&vector(1, 3).cast(DType::BF16)]).is_none());
        if has_f64() {
            let tensors = tensors.map(|of| of.clone().cast(DType::F64));
            let wide = sum_of_squares(&tensors.each_ref()).unwrap();
            assert!(
                (wide / expected - 1.0).abs() < 1e-6,
                "{wide} for {expected}"
            );
        }
    }
}
