//! The contract between a model and whatever gives its parameters.

use burn::tensor::{DType, TensorData, bf16};
use serde::{Deserialize, Serialize};

use super::super::transpose::transpose;
use crate::error::Error;

/// The number format of parameters, and with it of all computation on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamDtype {
    /// 32-bit floats: the choice on a CPU.
    #[default]
    F32,
    /// 64-bit floats: many times slower on every device, for telling a mistake from rounding.
    /// Log-probabilities, losses and what is saved are f32 all the same.
    F64,
    /// bfloat16: half the memory, for devices that compute fast in it. On flex it is a storage
    /// format alone: every product converts its weight.
    Bf16,
}

impl From<ParamDtype> for DType {
    fn from(dtype: ParamDtype) -> Self {
        match dtype {
            ParamDtype::F32 => Self::F32,
            ParamDtype::F64 => Self::F64,
            ParamDtype::Bf16 => Self::BF16,
        }
    }
}

/// Gives a model's parameters by their Hugging Face names.
///
/// # Adding a source
/// Implement [`read`](Self::read); the other methods have defaults made of it, which a source that
/// can save memory or time replaces.
pub trait WeightSource {
    /// The values of a tensor, row major, in the layout of the Hugging Face file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor; other errors tell of a
    /// damaged file.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;

    /// The values of a tensor of this shape with its first axis moved to the end: a linear weight
    /// `[out, in]` becomes `[in, out]`, row major.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_transposed(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let values = self.read(name, shape)?;
        let rows = shape.first().copied().unwrap_or(1);
        Ok(transpose(&values, rows, values.len() / rows.max(1)))
    }

    /// The values of a tensor in a number format, with the shape `[values]`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_as(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: ParamDtype,
    ) -> Result<TensorData, Error> {
        Ok(to_data(self.read(name, shape)?, dtype))
    }

    /// [`read_transposed`](Self::read_transposed) in a number format, with the shape `[values]`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    fn read_transposed_as(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: ParamDtype,
    ) -> Result<TensorData, Error> {
        Ok(to_data(self.read_transposed(name, shape)?, dtype))
    }
}

fn to_data(values: Vec<f32>, dtype: ParamDtype) -> TensorData {
    let shape = [values.len()];
    match dtype {
        ParamDtype::F32 => TensorData::new(values, shape),
        ParamDtype::F64 => {
            let doubles: Vec<f64> = values.into_iter().map(f64::from).collect();
            TensorData::new(doubles, shape)
        }
        ParamDtype::Bf16 => {
            let halves: Vec<bf16> = values.into_iter().map(bf16::from_f32).collect();
            TensorData::new(halves, shape)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_needs_nothing_but_read() {
        struct Counting;
        impl WeightSource for Counting {
            fn read(&mut self, _: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
                Ok((0..shape.iter().product())
                    .map(|i: usize| i as f32)
                    .collect())
            }
        }
        let turned = Counting.read_transposed("w", &[2, 3, 1]).unwrap();
        assert_eq!(turned, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
        let data = Counting
            .read_transposed_as("w", &[2, 3], ParamDtype::Bf16)
            .unwrap();
        assert_eq!(
            (data.dtype(), data.shape().num_elements()),
            (DType::BF16, 6)
        );
        assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), turned);
        let data = Counting.read_as("w", &[3], ParamDtype::F32).unwrap();
        assert_eq!(data.as_slice::<f32>().unwrap(), [0.0, 1.0, 2.0]);
        let data = Counting.read_as("w", &[3], ParamDtype::F64).unwrap();
        assert_eq!(data.as_slice::<f64>().unwrap(), [0.0, 1.0, 2.0]);
        assert_eq!(DType::from(ParamDtype::default()), DType::F32);
    }
}
