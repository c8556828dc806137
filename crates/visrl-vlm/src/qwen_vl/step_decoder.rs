//! The decoder in steps of one token of each row.

use burn::module::{Param, ParamId};
use burn::nn::RmsNorm;
use burn::tensor::{Int, Tensor, TensorData};
use visrl_kernels::{DecodeAttention, HeadNorms, Heads, rms_norm, silu_mul};

use super::config::TextConfig;
use super::rope::inverse_frequencies;
use crate::layers::lora_linear::LoraLinear;
use crate::model::batched_cache::BatchedCache;
use crate::model::step_decoder::{StepDecoder, StepInput};

/// The language model's weights as decode steps read them.
#[derive(Debug)]
pub(super) struct QwenStepDecoder {
    pub(super) embeddings: Tensor<2>,
    pub(super) layers: Vec<StepLayer>,
    pub(super) norm: RmsNorm,
    pub(super) heads: Heads,
    /// Frequencies of a head's pairs, `[1, dim / 2]`.
    pub(super) frequencies: Tensor<2>,
}

/// A layer.
#[derive(Debug)]
pub(super) struct StepLayer {
    pub(super) input_norm: RmsNorm,
    pub(super) qkv: StepProjections,
    /// Of the heads of queries and of keys, where the family has them.
    pub(super) norms: Option<HeadNorms>,
    pub(super) output: LoraLinear,
    pub(super) post_attention_norm: RmsNorm,
    pub(super) gate: LoraLinear,
    pub(super) up: LoraLinear,
    pub(super) down: LoraLinear,
}

/// The projections to queries, keys and values.
#[derive(Debug)]
pub(super) enum StepProjections {
    /// As one product, side by side.
    Joined(Box<LoraLinear>),
    /// As they are, where they carry adapters.
    Apart(Box<[LoraLinear; 3]>),
}

impl StepProjections {
    pub(super) fn new(apart: [&LoraLinear; 3]) -> Self {
        let adapted = apart.iter().any(|linear| linear.lora_a.is_some());
        let biases = apart.map(|linear| linear.bias.as_ref().map(|bias| bias.val()));
        let whole = biases.iter().all(Option::is_some) || biases.iter().all(Option::is_none);
        if adapted || !whole {
            return Self::Apart(Box::new(apart.map(Clone::clone)));
        }
        let weight = Tensor::cat(apart.map(|linear| linear.weight.val()).to_vec(), 1);
        let biases: Vec<_> = biases.into_iter().flatten().collect();
        let bias = (!biases.is_empty()).then(|| Tensor::cat(biases, 0));
        let bias = bias.map(|bias| Param::initialized(ParamId::new(), bias));
        let weight = Param::initialized(ParamId::new(), weight);
        Self::Joined(Box::new(LoraLinear::new(weight, bias)))
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        match self {
            Self::Joined(joined) => joined.forward(x),
            Self::Apart(apart) => {
                let parts = apart.iter().map(|linear| linear.forward(x.clone()));
                Tensor::cat(parts.collect(), 1)
            }
        }
    }
}

impl QwenStepDecoder {
    pub(super) fn new(
        embeddings: Tensor<2>,
        layers: Vec<StepLayer>,
        norm: RmsNorm,
        config: &TextConfig,
    ) -> Self {
        let half = config.head_dim / 2;
        let frequencies = inverse_frequencies(half, config.rope_theta);
        let frequencies = TensorData::new(frequencies, [1, half]);
        let frequencies = Tensor::from_data(frequencies, &embeddings.device());
        Self {
            embeddings,
            layers,
            norm,
            heads: Heads {
                query: config.heads,
                kv: config.kv_heads,
                dim: config.head_dim,
            },
            frequencies,
        }
    }

    /// What the layers' attention shares.
    fn attention(
        &self,
        positions: Tensor<1, Int>,
        lengths: Tensor<1, Int>,
        cache: &BatchedCache,
    ) -> DecodeAttention {
        let dtype = self.frequencies.dtype();
        let positions = positions.float().cast(dtype).unsqueeze_dim::<2>(1);
        let angles = positions * self.frequencies.clone();
        DecodeAttention::new(self.heads, angles, lengths, cache.capacity(), cache.dtype())
    }
}

impl StepDecoder for QwenStepDecoder {
    fn cache(&self) -> BatchedCache {
        let (table, width) = (&self.embeddings, 2 * self.heads.kv * self.heads.dim);
        BatchedCache::new(self.layers.len(), width, table.dtype(), &table.device())
    }

    fn step(&self, input: StepInput, cache: &mut BatchedCache) -> Tensor<2> {
        let attention = self.attention(input.positions, input.lengths, cache);
        let mut hidden = self.embeddings.clone().select(0, input.ids);
        for (index, layer) in self.layers.iter().enumerate() {
            let normed = rms_norm(&layer.input_norm, hidden.clone());
            let mut qkv = layer.qkv.forward(normed);
            if let Some(norms) = &layer.norms {
                qkv = norms.apply(qkv);
            }
            let mixed = cache.update(index, |cache| attention.attend(qkv, cache));
            hidden = layer.output.forward_onto(mixed, hidden);
            let normed = rms_norm(&layer.post_attention_norm, hidden.clone());
            let gate = layer.gate.forward(normed.clone());
            let inner = silu_mul(gate, layer.up.forward(normed));
            hidden = layer.down.forward_onto(inner, hidden);
        }
        rms_norm(&self.norm, hidden)
    }
}
