//! The decoder.

use std::ops::Range;

use burn::module::Module;
use burn::nn::{Embedding, RmsNorm};
use burn::tensor::Tensor;
use visrl_kernels::{
    FeedForward, HeadNorms, Heads, LayerAttention, LayerWeights, NormWeights, Projections,
    PromptsAttention, PromptsWithRows, TransformerLayer, rms_norm, silu_mul,
};

use super::added::Added;
use super::config::TextConfig;
use super::rope::Rotary;
use super::step_decoder::{QwenStepDecoder, StepLayer, StepProjections};
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::model::attention::attend;
use crate::model::index_tensor::index_tensor;
use crate::model::segment::Segment;
use crate::model::vision_language_model::Output;

#[derive(Module, Debug)]
pub(super) struct TextModel {
    pub(super) embed_tokens: Embedding,
    layers: Vec<DecoderLayer>,
    norm: RmsNorm,
}

#[derive(Module, Debug)]
struct DecoderLayer {
    input_layernorm: RmsNorm,
    self_attn: Attention,
    post_attention_layernorm: RmsNorm,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    q_proj: LoraLinear,
    k_proj: LoraLinear,
    v_proj: LoraLinear,
    o_proj: LoraLinear,
    q_norm: Option<RmsNorm>,
    k_norm: Option<RmsNorm>,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: LoraLinear,
    up_proj: LoraLinear,
    down_proj: LoraLinear,
}

impl TextModel {
    pub(super) fn new(build: &mut LayerBuilder<'_>, config: &TextConfig) -> Result<Self, Error> {
        let embed_tokens =
            build.embedding("model.embed_tokens", config.vocab_size, config.hidden_size)?;
        let layers = (0..config.layers)
            .map(|index| DecoderLayer::new(build, &format!("model.layers.{index}"), config))
            .collect::<Result<_, _>>()?;
        let norm = build.rms_norm("model.norm", config.hidden_size, config.rms_norm_eps)?;
        Ok(Self {
            embed_tokens,
            layers,
            norm,
        })
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let (attention, mlp) = (&mut layer.self_attn, &mut layer.mlp);
            for (part, dense) in [
                ("self_attn.q_proj", &mut attention.q_proj),
                ("self_attn.k_proj", &mut attention.k_proj),
                ("self_attn.v_proj", &mut attention.v_proj),
                ("self_attn.o_proj", &mut attention.o_proj),
                ("mlp.gate_proj", &mut mlp.gate_proj),
                ("mlp.up_proj", &mut mlp.up_proj),
                ("mlp.down_proj", &mut mlp.down_proj),
            ] {
                visit(format!("model.layers.{index}.{part}"), dense);
            }
        }
    }

    /// The decoder in steps of one token of each row.
    pub(super) fn step_decoder(&self, config: &TextConfig) -> QwenStepDecoder {
        let layers = self.layers.iter().map(|layer| {
            let (attention, mlp) = (&layer.self_attn, &layer.mlp);
            let norms = attention.q_norm.clone().zip(attention.k_norm.clone());
            StepLayer {
                input_norm: layer.input_layernorm.clone(),
                qkv: StepProjections::new([
                    &attention.q_proj,
                    &attention.k_proj,
                    &attention.v_proj,
                ]),
                norms: norms.map(|(queries, keys)| HeadNorms::new(heads(config), [queries, keys])),
                output: attention.o_proj.clone(),
                post_attention_norm: layer.post_attention_layernorm.clone(),
                gate: mlp.gate_proj.clone(),
                up: mlp.up_proj.clone(),
                down: mlp.down_proj.clone(),
            }
        });
        let embeddings = self.embed_tokens.weight.val();
        QwenStepDecoder::new(embeddings, layers.collect(), self.norm.clone(), config)
    }

    /// Embeddings with image features in place, `[tokens, hidden * (1 + added)]`: features are as
    /// wide, and what lies behind the first `hidden` columns is added after the first layers; it is
    /// 0 for text. Without features, `[tokens, hidden]`.
    pub(super) fn embed(
        &self,
        ids: &[u32],
        features: Option<&Tensor<2>>,
        image_token: u32,
        added: usize,
    ) -> Result<Tensor<2>, Error> {
        let table = self.embed_tokens.weight.val();
        let [vocab, width] = table.dims();
        if let Some(id) = ids.iter().find(|&&id| id as usize >= vocab) {
            return Err(Error::Input(format!(
                "token id {id} is beyond the vocabulary of {vocab}"
            )));
        }
        let device = table.device();
        let images = ids.iter().filter(|&&id| id == image_token).count();
        let expected = [images, width * (1 + added)];
        let shape = features.map_or([0, expected[1]], |features| features.dims());
        if shape != expected {
            return Err(Error::Input(format!(
                "{images} image tokens for image features of shape {shape:?}"
            )));
        }
        let Some(features) = features.map(|features| features.clone().cast(table.dtype())) else {
            let index = index_tensor(ids.iter().map(|&id| i64::from(id)).collect(), &device);
            return Ok(table.select(0, index));
        };
        // Text rows, then image rows, then both brought into order.
        let text: Vec<i64> = ids
            .iter()
            .filter(|&&id| id != image_token)
            .map(|&id| i64::from(id))
            .collect();
        let (mut next_text, mut next_image) = (0, text.len() as i64);
        let order = ids.iter().map(|&id| {
            let next = if id == image_token {
                &mut next_image
            } else {
                &mut next_text
            };
            *next += 1;
            *next - 1
        });
        let order = index_tensor(order.collect(), &device);
        if text.is_empty() {
            return Ok(features);
        }
        let mut rows = table.select(0, index_tensor(text, &device));
        if added > 0 {
            let shape = [rows.dims()[0], width * added];
            let nothing = Tensor::zeros(shape, (&rows.device(), rows.dtype()));
            rows = Tensor::cat(vec![rows, nothing], 1);
        }
        Ok(Tensor::cat(vec![rows, features], 0).select(0, order))
    }

    /// Runs some of the layers; the final norm follows the last. What states hold behind the first
    /// `hidden` columns is added after these layers, `hidden` columns after each, and what is left
    /// goes on behind the states that follow.
    pub(super) fn run_layers(
        &self,
        layers: Range<usize>,
        hidden: Tensor<2>,
        rotary: &Rotary,
        segments: &mut [Segment],
        output: Output,
        config: &TextConfig,
    ) -> Option<Tensor<2>> {
        let (mut hidden, mut added) = Added::split(hidden, config.hidden_size);
        let heads = heads(config);
        let end = layers.end;
        for index in layers {
            let cache_only = index + 1 == end && output == Output::Cache;
            let layer = self.layers.get(index)?;
            hidden = layer.forward(hidden, index, heads, rotary, segments, cache_only)?;
            hidden = added.add(hidden);
        }
        if let Some(rest) = added.rest() {
            return Some(Tensor::cat(vec![hidden, rest], 1));
        }
        Some(match end == self.layers.len() {
            true => rms_norm(&self.norm, hidden),
            false => hidden,
        })
    }
}

impl TextModel {
    /// Whether prompts and rows should run through the layers together.
    pub(super) fn takes_prompts_with_rows(&self) -> bool {
        TransformerLayer::has_form(&self.embed_tokens.weight.val())
            && self.layers.iter().all(|layer| layer.weights().is_some())
    }

    /// Runs prompts and the rows behind them through all layers; gives the rows' states after the
    /// final norm, or nothing where a layer has adapters.
    pub(super) fn run_together(
        &self,
        hidden: Tensor<2>,
        rotary: &Rotary,
        tokens: &PromptsWithRows,
        config: &TextConfig,
    ) -> Option<Tensor<2>> {
        let attention = PromptsAttention {
            heads: heads(config),
            rotation: rotary.table().clone(),
            tokens: tokens.clone(),
        };
        let mut op = TransformerLayer {
            attention: LayerAttention::Prompts(attention),
            epsilon: self.norm.epsilon,
        };
        let (mut hidden, mut added) = Added::split(hidden, config.hidden_size);
        for layer in &self.layers {
            op.epsilon = layer.input_layernorm.epsilon;
            hidden = added.add(op.apply(hidden, layer.weights()?));
        }
        let [all, _] = hidden.dims();
        let first = tokens.prompt_tokens();
        Some(rms_norm(&self.norm, hidden.narrow(0, first, all - first)))
    }
}

impl DecoderLayer {
    /// The weights of a layer without adapters.
    fn weights(&self) -> Option<LayerWeights> {
        let (attention, mlp) = (&self.self_attn, &self.mlp);
        let norm = |norm: &RmsNorm| NormWeights {
            gamma: norm.gamma.val(),
            beta: None,
        };
        let head_norms = attention.q_norm.as_ref().zip(attention.k_norm.as_ref());
        Some(LayerWeights {
            norms: [
                norm(&self.input_layernorm),
                norm(&self.post_attention_layernorm),
            ],
            projections: Projections::Apart([
                attention.q_proj.weights()?,
                attention.k_proj.weights()?,
                attention.v_proj.weights()?,
            ]),
            head_norms: head_norms.map(|(q, k)| [q.gamma.val(), k.gamma.val()]),
            output: attention.o_proj.weights()?,
            feed_forward: FeedForward::Gated([
                mlp.gate_proj.weights()?,
                mlp.up_proj.weights()?,
                mlp.down_proj.weights()?,
            ]),
        })
    }

    fn new(build: &mut LayerBuilder<'_>, name: &str, config: &TextConfig) -> Result<Self, Error> {
        let (hidden, mlp) = (config.hidden_size, config.intermediate_size);
        let query = config.heads * config.head_dim;
        let kv = config.kv_heads * config.head_dim;
        let eps = config.rms_norm_eps;
        let mut dense =
            |part: &str, shape, bias| build.dense(&format!("{name}.{part}"), shape, bias, None);
        let bias = config.attention_bias;
        let self_attn = [
            dense("self_attn.q_proj", [hidden, query], bias)?,
            dense("self_attn.k_proj", [hidden, kv], bias)?,
            dense("self_attn.v_proj", [hidden, kv], bias)?,
            dense("self_attn.o_proj", [query, hidden], false)?,
        ];
        let mlp = Mlp {
            gate_proj: dense("mlp.gate_proj", [hidden, mlp], false)?,
            up_proj: dense("mlp.up_proj", [hidden, mlp], false)?,
            down_proj: dense("mlp.down_proj", [mlp, hidden], false)?,
        };
        let mut head_norm = |part: &str| {
            let name = format!("{name}.self_attn.{part}");
            let norm = config
                .head_norms
                .then(|| build.rms_norm(&name, config.head_dim, eps));
            norm.transpose()
        };
        let [q_proj, k_proj, v_proj, o_proj] = self_attn;
        let self_attn = Attention {
            q_proj,
            k_proj,
            v_proj,
            o_proj,
            q_norm: head_norm("q_norm")?,
            k_norm: head_norm("k_norm")?,
        };
        Ok(Self {
            input_layernorm: build.rms_norm(&format!("{name}.input_layernorm"), hidden, eps)?,
            self_attn,
            post_attention_layernorm: build.rms_norm(
                &format!("{name}.post_attention_layernorm"),
                hidden,
                eps,
            )?,
            mlp,
        })
    }

    /// The layer's output, or nothing when only its keys and values are wanted.
    fn forward(
        &self,
        hidden: Tensor<2>,
        index: usize,
        heads: Heads,
        rotary: &Rotary,
        segments: &mut [Segment],
        cache_only: bool,
    ) -> Option<Tensor<2>> {
        let normed = rms_norm(&self.input_layernorm, hidden.clone());
        let attention = &self.self_attn;
        let keys = attention.k_proj.forward(normed.clone());
        let keys = rotary.apply(norm_heads(attention.k_norm.as_ref(), keys));
        let values = attention.v_proj.forward(normed.clone());
        let queries = (!cache_only).then(|| {
            let queries = attention.q_proj.forward(normed);
            rotary.apply(norm_heads(attention.q_norm.as_ref(), queries))
        });
        let mixed = attend(heads, segments, index, queries, [keys, values])?;
        let hidden = hidden + attention.o_proj.forward(mixed);
        let normed = rms_norm(&self.post_attention_layernorm, hidden.clone());
        let gate = self.mlp.gate_proj.forward(normed.clone());
        let inner = silu_mul(gate, self.mlp.up_proj.forward(normed));
        Some(hidden + self.mlp.down_proj.forward(inner))
    }
}

fn heads(config: &TextConfig) -> Heads {
    Heads {
        query: config.heads,
        kv: config.kv_heads,
        dim: config.head_dim,
    }
}

/// Each head of `x` `[tokens, heads * head_dim]` through the norm of heads, where there is one.
fn norm_heads(norm: Option<&RmsNorm>, x: Tensor<2>) -> Tensor<2> {
    let Some(norm) = norm else { return x };
    let ([tokens, width], [dim]) = (x.dims(), norm.gamma.val().dims());
    let heads = x.reshape([tokens * width / dim, dim]);
    rms_norm(norm, heads).reshape([tokens, width])
}
