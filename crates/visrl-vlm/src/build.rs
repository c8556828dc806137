//! Layers of burn made from a [`WeightSource`].

use burn::module::Param;
use burn::nn::{Embedding, LayerNorm, RmsNorm};
use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use crate::{Dense, Error, WeightSource};

/// Builds layers by their Hugging Face names.
pub(crate) struct Builder<'a> {
    pub(crate) source: &'a mut dyn WeightSource,
    pub(crate) device: &'a Device,
    pub(crate) dtype: ParamDtype,
}

/// The number format of parameters, and with it of all computation on them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParamDtype {
    /// 32-bit floats: the choice on a CPU.
    #[default]
    F32,
    /// bfloat16: half the memory, for devices that compute fast in it. On flex it is a storage
    /// format alone: every product converts its weight.
    Bf16,
}

impl Builder<'_> {
    fn param<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        let data = TensorData::new(values, shape);
        match self.dtype {
            ParamDtype::F32 => Param::from_data(data, self.device),
            ParamDtype::Bf16 => {
                Param::from_tensor(Tensor::from_data(data, (self.device, DType::BF16)))
            }
        }
    }

    fn vector(&mut self, name: &str, size: usize) -> Result<Param<Tensor<1>>, Error> {
        let values = self.source.read(name, &[size])?;
        Ok(self.param(values, [size]))
    }

    /// A linear layer; `file_shape` is the weight's shape in the file, `[out, in]` if none.
    pub(crate) fn dense(
        &mut self,
        name: &str,
        [d_in, d_out]: [usize; 2],
        bias: bool,
        file_shape: Option<&[usize]>,
    ) -> Result<Dense, Error> {
        let shape = [d_out, d_in];
        let values = self.source.read(
            &format!("{name}.weight"),
            file_shape.unwrap_or(shape.as_slice()),
        )?;
        let weight = self.param(transpose(&values, d_out, d_in), [d_in, d_out]);
        let bias = if bias {
            Some(self.vector(&format!("{name}.bias"), d_out)?)
        } else {
            None
        };
        Ok(Dense::new(weight, bias))
    }

    pub(crate) fn embedding(
        &mut self,
        name: &str,
        rows: usize,
        width: usize,
    ) -> Result<Embedding, Error> {
        let values = self
            .source
            .read(&format!("{name}.weight"), &[rows, width])?;
        Ok(Embedding {
            weight: self.param(values, [rows, width]),
        })
    }

    pub(crate) fn rms_norm(&mut self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, Error> {
        let mut norm = RmsNormConfig::new(1).with_epsilon(eps).init(self.device);
        norm.gamma = self.vector(&format!("{name}.weight"), size)?;
        Ok(norm)
    }

    pub(crate) fn layer_norm(
        &mut self,
        name: &str,
        size: usize,
        eps: f64,
    ) -> Result<LayerNorm, Error> {
        let mut norm = LayerNormConfig::new(1).with_epsilon(eps).init(self.device);
        norm.gamma = self.vector(&format!("{name}.weight"), size)?;
        norm.beta = Some(self.vector(&format!("{name}.bias"), size)?);
        Ok(norm)
    }
}

/// `[rows, columns]` row major to `[columns, rows]` row major, in blocks that stay in cache.
pub(crate) fn transpose(values: &[f32], rows: usize, columns: usize) -> Vec<f32> {
    const BLOCK: usize = 32;
    let mut out = vec![0.0; values.len()];
    for row_start in (0..rows).step_by(BLOCK) {
        let row_end = (row_start + BLOCK).min(rows);
        for column_start in (0..columns).step_by(BLOCK) {
            for row in row_start..row_end {
                for column in column_start..(column_start + BLOCK).min(columns) {
                    out[column * rows + row] = values[row * columns + column];
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::transpose;

    #[test]
    fn transposes_across_block_borders() {
        let (rows, columns) = (37, 70);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        let turned = transpose(&values, rows, columns);
        assert_eq!(turned[5 * rows + 33], values[33 * columns + 5]);
        assert_eq!(transpose(&turned, columns, rows), values);
    }
}
