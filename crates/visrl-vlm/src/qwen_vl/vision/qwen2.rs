//! Qwen2-VL's tower: layer norms, quick GELU, attention over the whole frame.

use burn::module::Module;
use burn::nn::LayerNorm;
use burn::tensor::Tensor;
use visrl_kernels::{Gelu, layer_norm};

use super::block::{Block, EPS, Layers, Mlp};
use super::inputs::TowerInputs;
use super::merger::Merger;
use super::patches::PatchEmbed;
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block<LayerNorm, FeedForward>>,
    merger: Merger<LayerNorm>,
}

#[derive(Module, Debug)]
struct FeedForward {
    fc1: LoraLinear,
    fc2: LoraLinear,
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
            fc1: dense("fc1", [width, inner])?,
            fc2: dense("fc2", [inner, width])?,
        })
    }

    fn layers(&self) -> Layers<'_> {
        Layers::Plain(Gelu::Quick, [&self.fc1, &self.fc2])
    }

    fn each_dense(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear)) {
        visit("fc1", &mut self.fc1);
        visit("fc2", &mut self.fc2);
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
        let ln_q = build.layer_norm("visual.merger.ln_q", width, EPS)?;
        Ok(Self {
            patch_embed,
            blocks,
            merger: Merger::new(build, ln_q, config, out)?,
        })
    }

    pub(super) fn forward(
        &self,
        inputs: &TowerInputs,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let mut hidden = self.patch_embed.forward(&inputs.values);
        for block in &self.blocks {
            hidden = block.forward(hidden, &inputs.rotary, &inputs.frames, config.heads);
        }
        let normed = layer_norm(&self.merger.ln_q, EPS, hidden.clone());
        let merged = self.merger.forward(normed, config);
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
