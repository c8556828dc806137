//! The cast in LibTorch's operators, into one buffer.
#![allow(deprecated)] // burn deprecates its LibTorch backend as a whole.

use burn::tensor::{DType, Tensor};
use tch::{Kind, Tensor as Native};

use crate::libtorch::{self, Torch};

pub(super) fn cast_all(
    mut vectors: Vec<Tensor<1>>,
    dtype: DType,
) -> Result<Vec<Tensor<1>>, Vec<Tensor<1>>> {
    let kind = match dtype {
        DType::F32 => Kind::Float,
        DType::BF16 => Kind::BFloat16,
        _ => return Err(vectors),
    };
    if vectors.is_empty() || !vectors.iter().all(libtorch::takes) {
        return Err(vectors);
    }
    let others: Vec<usize> = (0..vectors.len())
        .filter(|&at| vectors[at].dtype() != dtype)
        .collect();
    let of: Vec<Torch> = others
        .iter()
        .map(|&at| libtorch::unwrap(vectors[at].clone()))
        .collect();
    let of: Vec<&Native> = of.iter().map(|of| &of.tensor).collect();
    for (at, cast) in others.into_iter().zip(libtorch::copies(&of, kind)) {
        vectors[at] = libtorch::wrap(cast);
    }
    Ok(vectors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libtorch::testing::device;
    use crate::testing::{numbers, values};

    #[test]
    fn equals_a_cast_of_each() {
        let vector = |seed, len: usize| {
            Tensor::<1>::from_floats(numbers(seed, len, 3.0).as_slice(), &device())
        };
        let vectors = || vec![vector(1, 1), vector(2, 64).cast(DType::BF16), vector(3, 70)];
        for dtype in [DType::BF16, DType::F32] {
            for (found, vector) in cast_all(vectors(), dtype)
                .unwrap()
                .into_iter()
                .zip(vectors())
            {
                assert_eq!(found.dtype(), dtype);
                assert_eq!(values(found), values(vector.cast(dtype)));
            }
        }
        assert!(cast_all(vectors(), DType::F64).is_err());
    }
}
