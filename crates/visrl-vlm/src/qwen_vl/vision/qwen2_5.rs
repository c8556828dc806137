//! Qwen2.5-VL's tower: RMS norms, SwiGLU, attention within windows in most blocks.

use burn::module::Module;
use burn::nn::RmsNorm;
use burn::tensor::Tensor;
use visrl_kernels::rms_norm;

use super::block::{Block, EPS, Layers, Mlp};
use super::inputs::TowerInputs;
use super::merger::Merger;
use super::patches::{PatchEmbed, like};
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block<RmsNorm, FeedForward>>,
    merger: Merger<RmsNorm>,
}

#[derive(Module, Debug)]
struct FeedForward {
    gate_proj: LoraLinear,
    up_proj: LoraLinear,
    down_proj: LoraLinear,
}

impl Mlp for FeedForward {
    fn new(
        build: &mut LayerBuilder<'_>,
        name: &str,
        [width, inner]: [usize; 2],
    ) -> Result<Self, Error> {
        let mut dense =
            |part: &str, shape| build.dense(&format!("{name}.{part}"), shape, true, None);
        Ok(Self {
            gate_proj: dense("gate_proj", [width, inner])?,
            up_proj: dense("up_proj", [width, inner])?,
            down_proj: dense("down_proj", [inner, width])?,
        })
    }

    fn layers(&self) -> Layers<'_> {
        Layers::Gated([&self.gate_proj, &self.up_proj, &self.down_proj])
    }

    fn each_dense(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear)) {
        visit("gate_proj", &mut self.gate_proj);
        visit("up_proj", &mut self.up_proj);
        visit("down_proj", &mut self.down_proj);
    }
}

impl Tower {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        config: &VisionConfig,
        out: usize,
    ) -> Result<Self, Error> {
        let width = config.embed_dim;
        let patch_embed = PatchEmbed::new(build, config, false)?;
        let blocks = Block::all(build, config)?;
        let ln_q = build.rms_norm("visual.merger.ln_q", width, EPS)?;
        Ok(Self {
            patch_embed,
            blocks,
            merger: Merger::new(build, ln_q, config, out)?,
        })
    }

    /// Patches come in the order of windows; merged tokens are brought back into their own.
    pub(super) fn forward(
        &self,
        inputs: &TowerInputs,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let mut hidden = self.patch_embed.forward(&inputs.values);
        let full = |index: usize| match &config.windows {
            Some(windows) => windows.full_blocks.contains(&index),
            None => true,
        };
        for (index, block) in self.blocks.iter().enumerate() {
            let windows = inputs.windows.as_ref().filter(|_| !full(index));
            let runs = windows.map_or(&inputs.frames, |windows| &windows.runs);
            hidden = block.forward(hidden, &inputs.rotary, runs, config.heads);
        }
        let normed = rms_norm(&self.merger.ln_q, hidden.clone());
        let merged = self.merger.forward(normed, config);
        let merged = match &inputs.windows {
            Some(windows) => {
                let back = like(&windows.back, &merged);
                merged.select(0, back)
            }
            None => merged,
        };
        (hidden, merged)
    }

    /// The weight that patches are read by.
    pub(super) fn weight(&self) -> Tensor<2> {
        self.patch_embed.weight()
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        Block::each_dense(&mut self.blocks, visit);
        self.merger.each_dense(visit);
    }
}
