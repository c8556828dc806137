//! The sum in a kernel of cubecl: what many cubes find is read once and added in f64.

use burn::tensor::DType;
use cubecl::prelude::*;

use crate::cube::launch::{self, WIDTH};
use crate::cube::reduce::cube_sum;
use crate::cube::{self, CubeTensor, element, flat, fresh};

/// Cubes that a tensor is divided among.
const PARTS: usize = 64;

/// The sums of squares of the parts of a tensor, from place `first` on.
#[cube(launch)]
fn squares<E: Float>(
    x: &Tensor<E>,
    sums: &mut Tensor<f32>,
    first: usize,
    #[define(E)] _format: ElemType,
) {
    let mut sum = 0.0f32;
    let mut at = ABSOLUTE_POS;
    while at < x.shape(1) {
        let value = f32::cast_from(x[at]);
        sum += value * value;
        at += CUBE_COUNT as usize * WIDTH;
    }
    let sum = cube_sum(sum);
    if UNIT_POS == 0 {
        sums[first + CUBE_POS] = sum;
    }
}

pub(super) fn sum_of_squares(tensors: &[&burn::Tensor<1>]) -> Option<f64> {
    if tensors.is_empty() || !tensors.iter().all(|of| cube::takes(of)) {
        return None;
    }
    let tensors = tensors.iter().map(|&of| flat(cube::unwrap(of.clone())));
    let tensors: Vec<CubeTensor> = tensors.collect();
    let sums = fresh(&tensors[0], &[tensors.len() * PARTS], DType::F32);
    for (index, x) in tensors.into_iter().enumerate() {
        let format = element(&x);
        squares::launch(
            &sums.client,
            launch::cubes(PARTS),
            launch::cube(),
            x.into_tensor_arg(),
            sums.clone().into_tensor_arg(),
            index * PARTS,
            format,
        );
    }
    let sums = cube::wrap::<1>(sums).try_into_vec_as::<f32>().ok()?;
    Some(sums.into_iter().map(f64::from).sum())
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;

    use super::super::op;
    use super::*;
    use crate::cube::testing::device;
    use crate::testing::numbers;

    #[test]
    fn equals_the_sum_in_f64() {
        let lens = [1, 7, 256, 200, 64 * 256 + 3];
        let vector = |len: usize| {
            let values = numbers(len as u64, len, 1.0);
            Tensor::<1>::from_floats(values.as_slice(), &device())
        };
        let tensors = lens.map(vector);
        let all = tensors.each_ref();
        let exact: f64 = lens
            .iter()
            .flat_map(|&len| numbers(len as u64, len, 1.0))
            .map(|x| f64::from(x).powi(2))
            .sum();
        for found in [
            sum_of_squares(&all).unwrap(),
            op::sum_of_squares(&all).unwrap(),
        ] {
            assert!((found - exact).abs() <= 1e-6 * exact, "{found} for {exact}");
        }
        assert!(sum_of_squares(&[]).is_none());
    }
}
