use burn::tensor::Tensor;

use super::plain;
use crate::error::Error;

/// The sum in one form; nothing where it does not take the tensors.
type Form = fn(&[&Tensor<1>]) -> Option<f64>;

const FORMS: &[Form] = &[
    #[cfg(feature = "flex")]
    super::flex::sum_of_squares,
    #[cfg(feature = "cubecl")]
    super::cube::sum_of_squares,
    #[cfg(feature = "tch")]
    super::tch::sum_of_squares,
];

/// The sum of the squares of all numbers of some tensors, which are read from their device together.
///
/// # Errors
/// [`Error::Device`] when the sums cannot be read.
pub fn sum_of_squares(tensors: &[&Tensor<1>]) -> Result<f64, Error> {
    match FORMS.iter().find_map(|form| form(tensors)) {
        Some(sum) => Ok(sum),
        None => plain::sum_of_squares(tensors),
    }
}
