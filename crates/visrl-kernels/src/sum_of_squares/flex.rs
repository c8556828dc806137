//! The sum over slices.

use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::{flex, simd};

/// Numbers that are summed in f32 before they are added in f64.
const PIECE: usize = 1 << 14;

pub(super) fn sum_of_squares(tensors: &[&Tensor<1>]) -> Option<f64> {
    let sums: Option<Vec<f64>> = tensors.iter().map(|tensor| of_one(tensor)).collect();
    Some(sums?.into_iter().sum())
}

fn of_one(tensor: &Tensor<1>) -> Option<f64> {
    let tensor = flex::in_order(flex::untracked(tensor)?);
    let pieces = flex::read(&tensor).par_chunks(PIECE);
    let sums: Vec<f32> = pieces
        .map(|piece| {
            simd::vectorized(
                #[inline(always)]
                || {
                    simd::sum(
                        piece,
                        #[inline(always)]
                        |x| x * x,
                    )
                },
            )
        })
        .collect();
    Some(sums.into_iter().map(f64::from).sum())
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};

    use super::super::{op, plain};
    use super::*;
    use crate::testing::numbers;

    #[test]
    fn equals_the_plain_form_and_the_sum_in_f64() {
        let lens = [1, 7, 200, PIECE + 3];
        let vector = |len: usize| {
            let values = numbers(len as u64, len, 1.0);
            Tensor::<1>::from_data(TensorData::new(values, [len]), &Device::flex())
        };
        let tensors = lens.map(vector);
        let all = tensors.each_ref();
        let exact: f64 = lens
            .iter()
            .flat_map(|&len| numbers(len as u64, len, 1.0))
            .map(|x| f64::from(x).powi(2))
            .sum();
        let wide = tensors.clone().map(|tensor| tensor.cast(DType::F64));
        assert!(sum_of_squares(&wide.each_ref()).is_none());
        for found in [
            sum_of_squares(&all).unwrap(),
            plain::sum_of_squares(&all).unwrap(),
            op::sum_of_squares(&all).unwrap(),
            op::sum_of_squares(&wide.each_ref()).unwrap(),
        ] {
            assert!((found - exact).abs() <= 1e-6 * exact, "{found} for {exact}");
        }
        assert_eq!(op::sum_of_squares(&[]).unwrap(), 0.0);
        assert_eq!(plain::sum_of_squares(&[]).unwrap(), 0.0);
    }
}
