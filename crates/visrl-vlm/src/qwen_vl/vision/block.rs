//! Blocks of vision towers: attention within frames or windows, and a feed-forward part, each
//! behind a norm.

use std::fmt::Debug;

use burn::module::Module;
use burn::nn::{LayerNorm, RmsNorm};
use burn::tensor::Tensor;
use visrl_kernels::{
    FeedForward, Gelu, LayerAttention, LayerWeights, NormWeights, Projections, Runs,
    TransformerLayer, layer_norm, rms_norm, silu_mul,
};

use super::attention::{Attention, self_attention};
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;
use crate::qwen_vl::rope::Rotary;

/// Added to variances and mean squares by all norms, whatever the configuration says.
pub(super) const EPS: f64 = 1e-6;

/// A norm of rows.
pub(super) trait Norm: Module + Debug + Sized {
    fn new(build: &mut LayerBuilder<'_>, name: &str, width: usize) -> Result<Self, Error>;

    fn apply(&self, x: Tensor<2>) -> Tensor<2>;

    fn weights(&self) -> NormWeights;
}

impl Norm for LayerNorm {
    fn new(build: &mut LayerBuilder<'_>, name: &str, width: usize) -> Result<Self, Error> {
        build.layer_norm(name, width, EPS)
    }

    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        layer_norm(self, EPS, x)
    }

    fn weights(&self) -> NormWeights {
        NormWeights {
            gamma: self.gamma.val(),
            beta: self.beta.as_ref().map(|beta| beta.val()),
        }
    }
}

impl Norm for RmsNorm {
    fn new(build: &mut LayerBuilder<'_>, name: &str, width: usize) -> Result<Self, Error> {
        build.rms_norm(name, width, EPS)
    }

    fn apply(&self, x: Tensor<2>) -> Tensor<2> {
        rms_norm(self, x)
    }

    fn weights(&self) -> NormWeights {
        NormWeights {
            gamma: self.gamma.val(),
            beta: None,
        }
    }
}

/// The layers of a feed-forward part.
pub(super) enum Layers<'a> {
    /// Two, with an activation between them.
    Plain(Gelu, [&'a LoraLinear; 2]),
    /// Gate, up and down.
    Gated([&'a LoraLinear; 3]),
}

/// A feed-forward part, whose fields carry Hugging Face's names.
pub(super) trait Mlp: Module + Debug + Sized {
    /// Of a `shape` of width and inner width.
    fn new(build: &mut LayerBuilder<'_>, name: &str, shape: [usize; 2]) -> Result<Self, Error>;

    fn layers(&self) -> Layers<'_>;

    fn each_dense(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear));
}

/// The parts of a block that families differ in are its norms and its feed-forward part.
#[derive(Module, Debug)]
pub(super) struct Block<N: Module, M: Module> {
    norm1: N,
    norm2: N,
    attn: Attention,
    mlp: M,
}

impl<N: Norm, M: Mlp> Block<N, M> {
    /// All blocks of a tower.
    pub(super) fn all(
        build: &mut LayerBuilder<'_>,
        config: &VisionConfig,
    ) -> Result<Vec<Self>, Error> {
        let (width, inner) = (config.embed_dim, config.intermediate_size);
        let mut block = |index: usize| {
            let name = |part: &str| format!("visual.blocks.{index}.{part}");
            Ok(Self {
                norm1: N::new(build, &name("norm1"), width)?,
                norm2: N::new(build, &name("norm2"), width)?,
                attn: Attention::new(build, &name("attn"), width)?,
                mlp: M::new(build, &name("mlp"), [width, inner])?,
            })
        };
        (0..config.depth).map(&mut block).collect()
    }

    /// Shows the linear layers of blocks with their names.
    pub(super) fn each_dense(blocks: &mut [Self], visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        for (index, block) in blocks.iter_mut().enumerate() {
            let name = |part: &str| format!("blocks.{index}.{part}");
            visit(name("attn.qkv"), &mut block.attn.qkv);
            visit(name("attn.proj"), &mut block.attn.proj);
            let visit = &mut |part: &str, dense: &mut LoraLinear| {
                visit(name(&format!("mlp.{part}")), dense);
            };
            block.mlp.each_dense(visit);
        }
    }

    /// The weights of a block without adapters.
    fn weights(&self) -> Option<LayerWeights> {
        Some(LayerWeights {
            norms: [self.norm1.weights(), self.norm2.weights()],
            projections: Projections::Joined(self.attn.qkv.weights()?),
            head_norms: None,
            output: self.attn.proj.weights()?,
            feed_forward: match self.mlp.layers() {
                Layers::Plain(activation, [first, second]) => {
                    FeedForward::Plain(activation, [first.weights()?, second.weights()?])
                }
                Layers::Gated([gate, up, down]) => {
                    FeedForward::Gated([gate.weights()?, up.weights()?, down.weights()?])
                }
            },
        })
    }

    /// `runs` are the patches that attend to each other.
    pub(super) fn forward(
        &self,
        hidden: Tensor<2>,
        rotary: &Rotary,
        runs: &Runs,
        heads: usize,
    ) -> Tensor<2> {
        let weights = TransformerLayer::has_form(&hidden).then(|| self.weights());
        if let Some(weights) = weights.flatten() {
            let layer = TransformerLayer {
                attention: LayerAttention::Runs(self_attention(rotary, runs, heads)),
                epsilon: EPS,
            };
            return layer.apply(hidden, weights);
        }
        let normed = self.norm1.apply(hidden.clone());
        let hidden = hidden + self.attn.forward(normed, rotary, runs, heads);
        let normed = self.norm2.apply(hidden.clone());
        hidden
            + match self.mlp.layers() {
                Layers::Plain(activation, [first, second]) => {
                    second.forward(activation.apply(first.forward(normed)))
                }
                Layers::Gated([gate, up, down]) => {
                    let gate = gate.forward(normed.clone());
                    down.forward(silu_mul(gate, up.forward(normed)))
                }
            }
    }
}
