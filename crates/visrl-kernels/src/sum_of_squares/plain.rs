//! The sum in tensor operations.

use burn::tensor::Tensor;

use crate::error::Error;

pub(super) fn sum_of_squares(tensors: &[&Tensor<1>]) -> Result<f64, Error> {
    let sums: Vec<_> = tensors
        .iter()
        .map(|&tensor| tensor.clone().square().sum())
        .collect();
    if sums.is_empty() {
        return Ok(0.0);
    }
    let sums: Vec<f32> = Tensor::cat(sums, 0)
        .try_into_vec_as()
        .map_err(Error::device)?;
    Ok(sums.into_iter().map(f64::from).sum())
}
