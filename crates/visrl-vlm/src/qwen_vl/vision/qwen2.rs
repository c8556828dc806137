//! Qwen2-VL's tower: layer norms, quick GELU, attention over the whole frame.

use burn::module::Module;
use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use visrl_kernels::{Gelu, VisionBlock, VisionBlockWeights, layer_norm};

use super::attention::{Attention, self_attention};
use super::merger::Merger;
use super::patches::{PatchEmbed, Patches};
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;
use crate::qwen_vl::rope::Rotary;

const EPS: f64 = 1e-6;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    merger: Merger<LayerNorm>,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    attn: Attention,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: LoraLinear,
    fc2: LoraLinear,
}

impl Tower {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        config: &VisionConfig,
        out: usize,
    ) -> Result<Self, Error> {
        let (width, inner) = (config.embed_dim, config.intermediate_size);
        let patch_embed = PatchEmbed::new(build, config, false)?;
        let mut blocks = Vec::with_capacity(config.depth);
        for index in 0..config.depth {
            let name = |part: &str| format!("visual.blocks.{index}.{part}");
            blocks.push(Block {
                norm1: build.layer_norm(&name("norm1"), width, EPS)?,
                norm2: build.layer_norm(&name("norm2"), width, EPS)?,
                attn: Attention::new(build, &name("attn"), width)?,
                mlp: Mlp {
                    fc1: build.dense(&name("mlp.fc1"), [width, inner], true, None)?,
                    fc2: build.dense(&name("mlp.fc2"), [inner, width], true, None)?,
                },
            });
        }
        let ln_q = build.layer_norm("visual.merger.ln_q", width, EPS)?;
        Ok(Self {
            patch_embed,
            blocks,
            merger: Merger::new(build, ln_q, config, out)?,
        })
    }

    pub(super) fn forward(
        &self,
        patches: Patches,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let sizes = patches.sizes();
        let mut hidden = self.patch_embed.forward(patches.values, config);
        let head_dim = config.embed_dim / config.heads;
        let rotary = Rotary::plane(&patches.positions, head_dim, config.rope_theta);
        for block in &self.blocks {
            hidden = block.forward(hidden, &rotary, &sizes, config.heads);
        }
        let normed = layer_norm(&self.merger.ln_q, EPS, hidden.clone());
        let merged = self.merger.forward(normed, config);
        (hidden, merged)
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            for (part, dense) in [
                ("attn.qkv", &mut block.attn.qkv),
                ("attn.proj", &mut block.attn.proj),
                ("mlp.fc1", &mut block.mlp.fc1),
                ("mlp.fc2", &mut block.mlp.fc2),
            ] {
                visit(format!("blocks.{index}.{part}"), dense);
            }
        }
        self.merger.each_dense(visit);
    }
}

impl Block {
    /// The weights of a block without adapters.
    fn weights(&self) -> Option<VisionBlockWeights> {
        let norm = |norm: &LayerNorm| Some((norm.gamma.val(), norm.beta.as_ref()?.val()));
        Some(VisionBlockWeights {
            norms: [norm(&self.norm1)?, norm(&self.norm2)?],
            linear: [
                self.attn.qkv.biased()?,
                self.attn.proj.biased()?,
                self.mlp.fc1.biased()?,
                self.mlp.fc2.biased()?,
            ],
        })
    }

    fn forward(
        &self,
        hidden: Tensor<2>,
        rotary: &Rotary,
        sizes: &[usize],
        heads: usize,
    ) -> Tensor<2> {
        let weights = VisionBlock::has_form(&hidden).then(|| self.weights());
        if let Some(weights) = weights.flatten() {
            let attention = self_attention(rotary, sizes, heads);
            return VisionBlock {
                attention,
                epsilon: EPS,
            }
            .apply(hidden, weights);
        }
        let normed = layer_norm(&self.norm1, EPS, hidden.clone());
        let hidden = hidden + self.attn.forward(normed, rotary, sizes, heads);
        let normed = layer_norm(&self.norm2, EPS, hidden.clone());
        let inner = Gelu::Quick.apply(self.mlp.fc1.forward(normed));
        hidden + self.mlp.fc2.forward(inner)
    }
}
