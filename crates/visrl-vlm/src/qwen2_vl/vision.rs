use std::sync::Arc;

use burn::module::Module;
use burn::nn::{self, LayerNorm, Linear};
use burn::tensor::{Tensor, TensorData};

use super::{Qwen2VlConfig, VisionConfig};
use crate::build::Builder;
use crate::kernels::{Gelu, Mask, layer_norm, masked_softmax};
use crate::rope::Rotary;
use crate::{Error, ProcessedImage};

const EPS: f64 = 1e-6;

#[derive(Module, Debug)]
pub(super) struct VisionTower {
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    merger: Merger,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Linear,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    norm2: LayerNorm,
    attn: Attention,
    mlp: Mlp,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct Merger {
    ln_q: LayerNorm,
    mlp: (Linear, nn::Gelu, Linear),
}

impl VisionTower {
    pub(super) fn new(build: &mut Builder<'_>, config: &Qwen2VlConfig) -> Result<Self, Error> {
        let vision = &config.vision;
        let (width, inner) = (vision.embed_dim, vision.intermediate_size);
        let shape = vision.patch_shape();
        let proj = build.linear(
            "visual.patch_embed.proj",
            [vision.patch_dim(), width],
            false,
            Some(&shape),
        )?;
        let mut blocks = Vec::with_capacity(vision.depth);
        for index in 0..vision.depth {
            let name = |part: &str| format!("visual.blocks.{index}.{part}");
            blocks.push(Block {
                norm1: build.layer_norm(&name("norm1"), width, EPS)?,
                norm2: build.layer_norm(&name("norm2"), width, EPS)?,
                attn: Attention {
                    qkv: build.linear(&name("attn.qkv"), [width, 3 * width], true, None)?,
                    proj: build.linear(&name("attn.proj"), [width, width], true, None)?,
                },
                mlp: Mlp {
                    fc1: build.linear(&name("mlp.fc1"), [width, inner], true, None)?,
                    fc2: build.linear(&name("mlp.fc2"), [inner, width], true, None)?,
                },
            });
        }
        let merged = width * vision.merge_size * vision.merge_size;
        let out = config.text.hidden_size;
        let merger = Merger {
            ln_q: build.layer_norm("visual.merger.ln_q", width, EPS)?,
            mlp: (
                build.linear("visual.merger.mlp.0", [merged, merged], true, None)?,
                nn::Gelu::new(),
                build.linear("visual.merger.mlp.2", [merged, out], true, None)?,
            ),
        };
        Ok(Self {
            patch_embed: PatchEmbed { proj },
            blocks,
            merger,
        })
    }

    /// The states before and after the merger.
    pub(super) fn forward(
        &self,
        images: &[Arc<ProcessedImage>],
        config: &VisionConfig,
    ) -> Result<(Tensor<2>, Tensor<2>), Error> {
        if images.is_empty() {
            return Err(Error::Input("no image to encode".into()));
        }
        let mut positions = Vec::new();
        let mut values = Vec::new();
        let mut sizes = Vec::with_capacity(images.len());
        for image in images {
            let patches: usize = image.grid.iter().product();
            let expected = patches * config.patch_dim();
            let [_, h, w] = image.grid;
            if patches == 0
                || image.pixel_values.len() != expected
                || h % config.merge_size != 0
                || w % config.merge_size != 0
            {
                return Err(Error::Input(format!(
                    "an image of grid {:?} with {} values was not prepared for patches of {} \
                     values merged {} by {}",
                    image.grid,
                    image.pixel_values.len(),
                    config.patch_dim(),
                    config.merge_size,
                    config.merge_size
                )));
            }
            values.extend_from_slice(&image.pixel_values);
            patch_positions(image.grid, config.merge_size, &mut positions);
            // Each frame attends to itself.
            sizes.extend(std::iter::repeat_n(h * w, image.grid[0]));
        }
        let device = self.patch_embed.proj.weight.val().device();
        let patches = positions.len();
        let values = TensorData::new(values, [patches, config.patch_dim()]);
        let mut hidden = self
            .patch_embed
            .proj
            .forward(Tensor::from_data(values, &device));
        let head_dim = config.embed_dim / config.heads;
        let rotary = Rotary::plane(&positions, head_dim, &device);
        for block in &self.blocks {
            hidden = block.forward(hidden, &rotary, &sizes, config.heads);
        }
        let merged = self.merger.forward(hidden.clone(), config);
        Ok((hidden, merged))
    }
}

/// Row and column of each patch in the order of the patches: block by block of merged patches.
fn patch_positions([t, h, w]: [usize; 3], merge: usize, out: &mut Vec<[u32; 2]>) {
    for _ in 0..t {
        for block_row in 0..h / merge {
            for block_column in 0..w / merge {
                for row in 0..merge {
                    for column in 0..merge {
                        let at = [block_row * merge + row, block_column * merge + column];
                        out.push(at.map(|x| x as u32));
                    }
                }
            }
        }
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
        let inner = self
            .mlp
            .fc1
            .forward(layer_norm(&self.norm2, EPS, hidden.clone()));
        hidden + self.mlp.fc2.forward(Gelu::Quick.apply(inner))
    }
}

impl Attention {
    fn forward(&self, x: Tensor<2>, rotary: &Rotary, sizes: &[usize], heads: usize) -> Tensor<2> {
        let width = x.dims()[1];
        let qkv = self.qkv.forward(x);
        let part = |index: usize| qkv.clone().narrow(1, index * width, width);
        let (queries, keys) = (rotary.apply(part(0)), rotary.apply(part(1)));
        let values = part(2);
        let dim = width / heads;
        let queries = queries / (dim as f64).sqrt();
        // Images of one size are attended to together.
        let mut parts = Vec::new();
        let mut start = 0;
        for run in sizes.chunk_by(|a, b| a == b) {
            let (count, size) = (run.len(), run[0]);
            let cut = |tensor: &Tensor<2>| {
                let tensor = tensor.clone().narrow(0, start, count * size);
                tensor.reshape([count, size, heads, dim]).swap_dims(1, 2)
            };
            let scores = cut(&queries).matmul(cut(&keys).swap_dims(2, 3));
            let mixed = masked_softmax(scores, Mask::Full)
                .matmul(cut(&values))
                .swap_dims(1, 2);
            parts.push(mixed.reshape([count * size, width]));
            start += count * size;
        }
        self.proj.forward(Tensor::cat(parts, 0))
    }
}

impl Merger {
    fn forward(&self, hidden: Tensor<2>, config: &VisionConfig) -> Tensor<2> {
        let [patches, width] = hidden.dims();
        let side = config.merge_size * config.merge_size;
        let normed = layer_norm(&self.ln_q, EPS, hidden);
        let normed = normed.reshape([patches / side, width * side]);
        let (first, _, second) = &self.mlp;
        second.forward(Gelu::Exact.apply(first.forward(normed)))
    }
}
