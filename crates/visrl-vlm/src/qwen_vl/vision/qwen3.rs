//! Qwen3-VL's tower: learnt positions, layer norms, tanh GELU, attention over the whole frame, and
//! mergers behind some of the blocks beside the one at the end.

use burn::module::Module;
use burn::nn::{Embedding, LayerNorm};
use burn::tensor::Tensor;
use visrl_kernels::{Gelu, layer_norm};

use super::block::{Block, EPS, Layers, Mlp};
use super::inputs::TowerInputs;
use super::patches::PatchEmbed;
use super::position_table::interpolate;
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    pos_embed: Embedding,
    blocks: Vec<Block<LayerNorm, FeedForward>>,
    merger: Merger,
    deepstack_merger_list: Vec<Merger>,
}

#[derive(Module, Debug)]
struct FeedForward {
    linear_fc1: LoraLinear,
    linear_fc2: LoraLinear,
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
            linear_fc1: dense("linear_fc1", [width, inner])?,
            linear_fc2: dense("linear_fc2", [inner, width])?,
        })
    }

    fn layers(&self) -> Layers<'_> {
        Layers::Plain(Gelu::Tanh, [&self.linear_fc1, &self.linear_fc2])
    }

    fn each_dense(&mut self, visit: &mut dyn FnMut(&str, &mut LoraLinear)) {
        visit("linear_fc1", &mut self.linear_fc1);
        visit("linear_fc2", &mut self.linear_fc2);
    }
}

/// Two layers that make one visual token of neighbouring patches.
#[derive(Module, Debug)]
struct Merger {
    norm: LayerNorm,
    linear_fc1: LoraLinear,
    linear_fc2: LoraLinear,
}

impl Tower {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        config: &VisionConfig,
        out: usize,
    ) -> Result<Self, Error> {
        let width = config.embed_dim;
        let patch_embed = PatchEmbed::new(build, config, true)?;
        let places = config.position_embeddings.unwrap_or_default();
        let pos_embed = build.embedding("visual.pos_embed", places, width)?;
        let blocks = Block::all(build, config)?;
        let merged = width * config.merge_size * config.merge_size;
        let merger = Merger::new(build, "visual.merger", [width, merged, out])?;
        let deepstack_merger_list = (0..config.deepstack.len())
            .map(|index| {
                let name = format!("visual.deepstack_merger_list.{index}");
                Merger::new(build, &name, [merged, merged, out])
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            patch_embed,
            pos_embed,
            blocks,
            merger,
            deepstack_merger_list,
        })
    }

    pub(super) fn forward(
        &self,
        inputs: &TowerInputs,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let mut hidden = self.patch_embed.forward(&inputs.values);
        if let Some(taps) = &inputs.taps {
            hidden = hidden + interpolate(&self.pos_embed, taps);
        }
        let mut deep = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            hidden = block.forward(hidden, &inputs.rotary, &inputs.frames, config.heads);
            let place = config.deepstack.iter().position(|&block| block == index);
            if let Some(merger) = place.and_then(|place| self.deepstack_merger_list.get(place)) {
                deep.push(merger.forward(hidden.clone()));
            }
        }
        let mut features = vec![self.merger.forward(hidden.clone())];
        features.append(&mut deep);
        (hidden, Tensor::cat(features, 1))
    }

    /// The weight that patches are read by.
    pub(super) fn weight(&self) -> Tensor<2> {
        self.patch_embed.weight()
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        Block::each_dense(&mut self.blocks, visit);
        let mergers = self.deepstack_merger_list.iter_mut().enumerate();
        let mergers = mergers.map(|(index, it)| (format!("deepstack_merger_list.{index}"), it));
        for (name, merger) in [("merger".into(), &mut self.merger)]
            .into_iter()
            .chain(mergers)
        {
            visit(format!("{name}.linear_fc1"), &mut merger.linear_fc1);
            visit(format!("{name}.linear_fc2"), &mut merger.linear_fc2);
        }
    }
}

impl Merger {
    /// Of states of `norm` columns, normalised before they are joined to `merged` where these are
    /// fewer, and afterwards otherwise.
    fn new(
        build: &mut LayerBuilder<'_>,
        name: &str,
        [norm, merged, out]: [usize; 3],
    ) -> Result<Self, Error> {
        let mut dense =
            |part: &str, shape| build.dense(&format!("{name}.{part}"), shape, true, None);
        let linear_fc1 = dense("linear_fc1", [merged, merged])?;
        let linear_fc2 = dense("linear_fc2", [merged, out])?;
        let norm = build.layer_norm(&format!("{name}.norm"), norm, EPS)?;
        Ok(Self {
            norm,
            linear_fc1,
            linear_fc2,
        })
    }

    fn forward(&self, hidden: Tensor<2>) -> Tensor<2> {
        let values = hidden.shape().num_elements();
        let [normed] = self.norm.gamma.val().dims();
        let [merged, _] = self.linear_fc1.weight.val().dims();
        let hidden = layer_norm(&self.norm, EPS, hidden.reshape([values / normed, normed]));
        let hidden = hidden.reshape([values / merged, merged]);
        self.linear_fc2
            .forward(Gelu::Exact.apply(self.linear_fc1.forward(hidden)))
    }
}
