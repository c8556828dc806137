//! Qwen3-VL's tower: learnt positions, layer norms, tanh GELU, attention over the whole frame, and
//! mergers behind some of the blocks beside the one at the end.

use burn::module::Module;
use burn::nn::{Embedding, LayerNorm};
use burn::tensor::Tensor;
use visrl_kernels::{Gelu, layer_norm};

use super::attention::Attention;
use super::patches::{PatchEmbed, Patches};
use super::position_table::interpolate;
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;
use crate::qwen_vl::rope::Rotary;

/// That of all its layer norms, whatever the configuration says.
const EPS: f64 = 1e-6;

#[derive(Module, Debug)]
pub(in crate::qwen_vl) struct Tower {
    patch_embed: PatchEmbed,
    pos_embed: Embedding,
    blocks: Vec<Block>,
    merger: Merger,
    deepstack_merger_list: Vec<Merger>,
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
    linear_fc1: LoraLinear,
    linear_fc2: LoraLinear,
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
        let (width, inner) = (config.embed_dim, config.intermediate_size);
        let patch_embed = PatchEmbed::new(build, config, true)?;
        let places = config.position_embeddings.unwrap_or_default();
        let pos_embed = build.embedding("visual.pos_embed", places, width)?;
        let mut blocks = Vec::with_capacity(config.depth);
        for index in 0..config.depth {
            let name = |part: &str| format!("visual.blocks.{index}.{part}");
            let mut dense =
                |part: &str, shape| build.dense(&name(&format!("mlp.{part}")), shape, true, None);
            let mlp = Mlp {
                linear_fc1: dense("linear_fc1", [width, inner])?,
                linear_fc2: dense("linear_fc2", [inner, width])?,
            };
            blocks.push(Block {
                norm1: build.layer_norm(&name("norm1"), width, EPS)?,
                norm2: build.layer_norm(&name("norm2"), width, EPS)?,
                attn: Attention::new(build, &name("attn"), width)?,
                mlp,
            });
        }
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
        patches: Patches,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        let sizes = patches.sizes();
        let side = config.position_side();
        let places = interpolate(&self.pos_embed, &patches.positions, &patches.frames, side);
        let mut hidden = self.patch_embed.forward(patches.values, config) + places;
        let head_dim = config.embed_dim / config.heads;
        let rotary = Rotary::plane(&patches.positions, head_dim, config.rope_theta);
        let mut deep = Vec::new();
        for (index, block) in self.blocks.iter().enumerate() {
            hidden = block.forward(hidden, &rotary, &sizes, config.heads);
            let place = config.deepstack.iter().position(|&block| block == index);
            if let Some(merger) = place.and_then(|place| self.deepstack_merger_list.get(place)) {
                deep.push(merger.forward(hidden.clone()));
            }
        }
        let mut features = vec![self.merger.forward(hidden.clone())];
        features.append(&mut deep);
        (hidden, Tensor::cat(features, 1))
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut LoraLinear)) {
        for (index, block) in self.blocks.iter_mut().enumerate() {
            for (part, dense) in [
                ("attn.qkv", &mut block.attn.qkv),
                ("attn.proj", &mut block.attn.proj),
                ("mlp.linear_fc1", &mut block.mlp.linear_fc1),
                ("mlp.linear_fc2", &mut block.mlp.linear_fc2),
            ] {
                visit(format!("blocks.{index}.{part}"), dense);
            }
        }
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

impl Block {
    fn forward(
        &self,
        hidden: Tensor<2>,
        rotary: &Rotary,
        sizes: &[usize],
        heads: usize,
    ) -> Tensor<2> {
        let normed = layer_norm(&self.norm1, EPS, hidden.clone());
        let hidden = hidden + self.attn.forward(normed, rotary, sizes, heads);
        let normed = layer_norm(&self.norm2, EPS, hidden.clone());
        let inner = Gelu::Tanh.apply(self.mlp.linear_fc1.forward(normed));
        hidden + self.mlp.linear_fc2.forward(inner)
    }
}
