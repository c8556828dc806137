//! The product in LibTorch's operators, of all vectors together.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::Tensor;
use tch::Tensor as Native;

use crate::libtorch::{self, shim};

pub(super) fn scale_all(
    vectors: Vec<Tensor<1>>,
    factor: f64,
) -> Result<Vec<Tensor<1>>, Vec<Tensor<1>>> {
    let Some(first) = vectors.first().map(Tensor::dtype) else {
        return Ok(vectors);
    };
    let takes = |of: &Tensor<1>| of.dtype() == first && libtorch::takes(of);
    if !vectors.iter().all(takes) {
        return Err(vectors);
    }
    let of = vectors.into_iter().map(libtorch::unwrap).collect();
    let of = libtorch::owned_all(of);
    shim::scale_all(
        &of.iter().map(|of| &of.tensor).collect::<Vec<&Native>>(),
        factor,
    );
    Ok(of.into_iter().map(libtorch::wrap).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::testing::device;
    use crate::testing::{close, numbers, values};

    #[test]
    fn equals_each_alone_and_leaves_what_is_held() {
        let vector = |seed, len: usize| {
            Tensor::<1>::from_floats(numbers(seed, len, 3.0).as_slice(), &device())
        };
        let vectors = || vec![vector(1, 1), vector(2, 64), vector(3, 70)];
        let held = vectors();
        let given = vec![held[0].clone(), vector(2, 64), held[2].clone()];
        for (found, vector) in scale_all(given, 0.3).unwrap().into_iter().zip(vectors()) {
            close(&values(found), &values(vector * 0.3), 1e-6);
        }
        for (held, vector) in held.into_iter().zip(vectors()) {
            assert_eq!(values(held), values(vector));
        }
    }
}
