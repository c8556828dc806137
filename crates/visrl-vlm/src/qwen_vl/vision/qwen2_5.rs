//! Qwen2.5-VL's tower: RMS norms, SwiGLU, attention within windows in most blocks.

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use visrl_kernels::{rms_norm, silu_mul};

use super::attention::Attention;
use super::merger::Merger;
use super::patches::{PatchEmbed, Patches};
use super::windows::WindowOrder;
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::model::index_tensor::index_tensor;
use crate::qwen_vl::config::VisionConfig;
use crate::qwen_vl::rope::Rotary;

const EPS: f64 = 1e-6;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    merger: Merger<RmsNorm>,
}

#[derive(Module, Debug)]
struct Block {
    norm1: RmsNorm,
    norm2: RmsNorm,
    attn: Attention,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Mlp {
    gate_proj: LoraLinear,
    up_proj: LoraLinear,
    down_proj: LoraLinear,
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
                norm1: build.rms_norm(&name("norm1"), width, EPS)?,
                norm2: build.rms_norm(&name("norm2"), width, EPS)?,
                attn: Attention::new(build, &name("attn"), width)?,
                mlp: Mlp {
                    gate_proj: build.dense(&name("mlp.gate_proj"), [width, inner], true, None)?,
                    up_proj: build.dense(&name("mlp.up_proj"), [width, inner], true, None)?,
                    down_proj: build.dense(&name("mlp.down_proj"), [inner, width], true, None)?,
                },
            });
        }
        let ln_q = build.rms_norm("visual.merger.ln_q", width, EPS)?;
        Ok(Self {
            patch_embed,
            blocks,
            merger: Merger::new(build, ln_q, config, out)?,
        })
    }

    /// Patches are brought into the order of windows, and merged tokens back into their own.
    pub(super) fn forward(
        &self,
        patches: Patches,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let whole = patches.sizes();
        let order = WindowOrder::new(&patches.frames, config);
        let unit = config.merge_size * config.merge_size;
        let values = order.arrange(&patches.values, unit * config.patch_dim());
        let positions = order.arrange(&patches.positions, unit);
        let windows: Vec<usize> = order.windows.iter().map(|tokens| tokens * unit).collect();
        let mut hidden = self.patch_embed.forward(values, config);
        let head_dim = config.embed_dim / config.heads;
        let rotary = Rotary::plane(&positions, head_dim, config.rope_theta);
        let full = |index: usize| match &config.windows {
            Some(windows) => windows.full_blocks.contains(&index),
            None => true,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let sizes = if full(index) { &whole } else { &windows };
            hidden = block.forward(hidden, &rotary, sizes, config.heads);
        }
        let normed = rms_norm(&self.merger.ln_q, hidden.clone());
        let merged = self.merger.forward(normed, config);
        let back = index_tensor(order.inverse(), &merged.device());
        (hidden, merged.select(0, back))
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            for (part, dense) in [
                ("attn.qkv", &mut block.attn.qkv),
                ("attn.proj", &mut block.attn.proj),
                ("mlp.gate_proj", &mut block.mlp.gate_proj),
                ("mlp.up_proj", &mut block.mlp.up_proj),
                ("mlp.down_proj", &mut block.mlp.down_proj),
            ] {
                visit(format!("blocks.{index}.{part}"), dense);
            }
        }
        self.merger.each_dense(visit);
    }
}

impl Block {
    fn forward(
        &self,
        hidden: Tensor<2>,
        rotary: &Rotary,
        sizes: &[usize],
        heads: usize,
    ) -> Tensor<2> {
        let normed = rms_norm(&self.norm1, hidden.clone());
        let hidden = hidden + self.attn.forward(normed, rotary, sizes, heads);
        let normed = rms_norm(&self.norm2, hidden.clone());
        let gate = self.mlp.gate_proj.forward(normed.clone());
        let inner = silu_mul(gate, self.mlp.up_proj.forward(normed));
        hidden + self.mlp.down_proj.forward(inner)
    }
}
