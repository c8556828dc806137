//! The weights that are sampled from.

use burn::tensor::Tensor;
use visrl_kernels::matmul;
use visrl_vlm::{KvCache, VisionLanguageModel};

use crate::damage::damaged_parameter;
use crate::error::Error;
use crate::request::GroupRequest;

/// A snapshot of a model without gradient tracking.
#[derive(Debug)]
pub(super) struct Policy<M> {
    pub(super) model: M,
    /// From hidden states to logits, `[hidden, vocab]`, with its rows in memory one after another:
    /// multiplying a few rows by a transposed view is several times slower.
    pub(super) head: Tensor<2>,
}

impl<M: VisionLanguageModel> Policy<M> {
    pub(super) fn new(model: &M) -> Self {
        let model = model.valid();
        let head = model.head() * 1.0;
        Self { model, head }
    }

    /// The logits of hidden states `[rows, hidden]`, `[rows, vocab]` row by row.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Result<Vec<f32>, Error> {
        matmul(hidden, self.head.clone())
            .try_into_vec_as()
            .map_err(|error| Error::Device(error.to_string()))
    }

    /// Where logits that are not finite come from.
    pub(super) fn diagnose(
        &self,
        request: &GroupRequest,
        position: usize,
        cache: &KvCache,
    ) -> Error {
        Error::NotFinite {
            id: request.prompt.id.clone(),
            position,
            layer: cache.first_damaged_layer(),
            parameter: damaged_parameter(&self.model),
        }
    }
}
