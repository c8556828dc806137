//! Layers of burn made from a [`WeightSource`].

use burn::module::Param;
use burn::nn::{Embedding, LayerNorm, RmsNorm};
use burn::nn::{LayerNormConfig, RmsNormConfig};
use burn::tensor::{Device, Tensor, TensorData};

use super::weights::weight_source::{ParamDtype, WeightSource};
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;

/// Builds layers by their Hugging Face names.
pub struct LayerBuilder<'a> {
    source: &'a mut dyn WeightSource,
    device: &'a Device,
    dtype: ParamDtype,
}

impl std::fmt::Debug for LayerBuilder<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LayerBuilder")
            .field("dtype", &self.dtype)
            .finish_non_exhaustive()
    }
}

impl<'a> LayerBuilder<'a> {
    /// Layers of a source's weights, on a device, in a number format.
    pub fn new(source: &'a mut dyn WeightSource, device: &'a Device, dtype: ParamDtype) -> Self {
        Self {
            source,
            device,
            dtype,
        }
    }

    fn param<const D: usize>(&self, data: TensorData, shape: [usize; D]) -> Param<Tensor<D>> {
        let tensor = Tensor::<1>::from_data(data, (self.device, self.dtype.into()));
        Param::from_tensor(tensor.reshape(shape))
    }

    fn vector(&mut self, name: &str, size: usize) -> Result<Param<Tensor<1>>, Error> {
        let values = self.source.read_as(name, &[size], self.dtype)?;
        Ok(self.param(values, [size]))
    }

    /// A linear layer from `{name}.weight` and, with `bias`, `{name}.bias`; `file_shape` is the
    /// weight's shape in the file, `[out, in]` if none.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor.
    pub fn dense(
        &mut self,
        name: &str,
        [d_in, d_out]: [usize; 2],
        bias: bool,
        file_shape: Option<&[usize]>,
    ) -> Result<LoraLinear, Error> {
        let shape = [d_out, d_in];
        let values = self.source.read_transposed_as(
            &format!("{name}.weight"),
            file_shape.unwrap_or(shape.as_slice()),
            self.dtype,
        )?;
        let weight = self.param(values, [d_in, d_out]);
        let bias = if bias {
            Some(self.vector(&format!("{name}.bias"), d_out)?)
        } else {
            None
        };
        Ok(LoraLinear::new(weight, bias))
    }

    /// A table of `rows` embeddings from `{name}.weight`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor.
    pub fn embedding(&mut self, name: &str, rows: usize, width: usize) -> Result<Embedding, Error> {
        let values = self
            .source
            .read_as(&format!("{name}.weight"), &[rows, width], self.dtype)?;
        Ok(Embedding {
            weight: self.param(values, [rows, width]),
        })
    }

    /// An RMS norm from `{name}.weight`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor.
    pub fn rms_norm(&mut self, name: &str, size: usize, eps: f64) -> Result<RmsNorm, Error> {
        let mut norm = RmsNormConfig::new(1).with_epsilon(eps).init(self.device);
        norm.gamma = self.vector(&format!("{name}.weight"), size)?;
        Ok(norm)
    }

    /// A layer norm from `{name}.weight` and `{name}.bias`.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor.
    pub fn layer_norm(&mut self, name: &str, size: usize, eps: f64) -> Result<LayerNorm, Error> {
        let mut norm = LayerNormConfig::new(1).with_epsilon(eps).init(self.device);
        norm.gamma = self.vector(&format!("{name}.weight"), size)?;
        norm.beta = Some(self.vector(&format!("{name}.bias"), size)?);
        Ok(norm)
    }
}
