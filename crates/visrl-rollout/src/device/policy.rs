//! The weights that are sampled from.

use burn::tensor::Tensor;
use visrl_kernels::matmul;
use visrl_vlm::{StepDecoder, VisionLanguageModel};

use super::sampler::DeviceSampler;

/// A snapshot of a model without gradient tracking, ready for decode steps.
#[derive(Debug)]
pub(super) struct Policy<M> {
    pub(super) model: M,
    pub(super) decoder: Box<dyn StepDecoder>,
    pub(super) sampler: DeviceSampler,
    /// From hidden states to logits, `[hidden, vocab]`.
    head: Tensor<2>,
}

impl<M: VisionLanguageModel> Policy<M> {
    /// Nothing for a model that has no decoder in steps.
    pub(super) fn new(model: &M) -> Option<Self> {
        let model = model.valid();
        let (decoder, head, info) = (model.step_decoder()?, model.head(), model.info());
        let sampler = DeviceSampler::new(info.vocab_size, &info.banned_ids, &head.device());
        Some(Self {
            model,
            decoder,
            sampler,
            head,
        })
    }

    /// The logits of hidden states `[rows, hidden]`, `[rows, vocab]`.
    pub(super) fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        matmul(hidden, self.head.clone())
    }
}
