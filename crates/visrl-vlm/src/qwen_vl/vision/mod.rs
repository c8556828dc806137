//! Vision towers: images in, visual tokens out.

mod qwen2;
mod qwen2_5;
mod windows;

use std::sync::Arc;

use burn::module::Module;
use burn::nn;
use burn::tensor::{Device, Tensor, TensorData};

use super::{QwenVlConfig, QwenVlKind, VisionConfig};
use crate::build::Builder;
use crate::rope::Rotary;
use crate::{Dense, Error, ProcessedImage};
use visrl_kernels::{Gelu, SelfAttention};

/// The tower of one of the family. A new one is a new variant.
#[derive(Module, Debug)]
pub(super) enum VisionTower {
    Qwen2(qwen2::Tower),
    Qwen2_5(qwen2_5::Tower),
}

impl VisionTower {
    pub(super) fn new(build: &mut Builder<'_>, config: &QwenVlConfig) -> Result<Self, Error> {
        let (vision, out) = (&config.vision, config.text.hidden_size);
        Ok(match config.kind {
            QwenVlKind::Qwen2 => Self::Qwen2(qwen2::Tower::new(build, vision, out)?),
            QwenVlKind::Qwen2_5 => Self::Qwen2_5(qwen2_5::Tower::new(build, vision, out)?),
        })
    }

    /// The states before and after the merger, `[patches, embed]` and `[visual tokens, hidden]`.
    pub(super) fn forward(
        &self,
        images: &[Arc<ProcessedImage>],
        config: &VisionConfig,
    ) -> Result<(Tensor<2>, Tensor<2>), Error> {
        let patches = Patches::new(images, config)?;
        Ok(match self {
            Self::Qwen2(tower) => tower.forward(patches, config),
            Self::Qwen2_5(tower) => tower.forward(patches, config),
        })
    }

    pub(super) fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut Dense)) {
        let visit = &mut |name: String, dense: &mut Dense| visit(format!("visual.{name}"), dense);
        match self {
            Self::Qwen2(tower) => tower.each_dense(visit),
            Self::Qwen2_5(tower) => tower.each_dense(visit),
        }
    }
}

/// The patches of all images, one after another.
struct Patches {
    /// `[patches, patch_dim]`, row major.
    values: Vec<f32>,
    /// Row and column of each patch.
    positions: Vec<[u32; 2]>,
    /// Height and width in patches of each frame; frames attend to themselves alone.
    frames: Vec<[usize; 2]>,
}

impl Patches {
    fn new(images: &[Arc<ProcessedImage>], config: &VisionConfig) -> Result<Self, Error> {
        if images.is_empty() {
            return Err(Error::Input("no image to encode".into()));
        }
        let mut patches = Self {
            values: Vec::new(),
            positions: Vec::new(),
            frames: Vec::with_capacity(images.len()),
        };
        for image in images {
            let count: usize = image.grid.iter().product();
            let expected = count * config.patch_dim();
            let [t, h, w] = image.grid;
            if count == 0
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
            patches.values.extend_from_slice(&image.pixel_values);
            patch_positions(image.grid, config.merge_size, &mut patches.positions);
            patches.frames.extend(std::iter::repeat_n([h, w], t));
        }
        Ok(patches)
    }

    /// The number of patches of each frame.
    fn sizes(&self) -> Vec<usize> {
        self.frames.iter().map(|[h, w]| h * w).collect()
    }

    fn tensor(values: Vec<f32>, config: &VisionConfig, device: &Device) -> Tensor<2> {
        let patches = values.len() / config.patch_dim();
        Tensor::from_data(
            TensorData::new(values, [patches, config.patch_dim()]),
            device,
        )
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

/// The projection of patches: a convolution whose stride is its kernel.
#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Dense,
}

impl PatchEmbed {
    fn new(build: &mut Builder<'_>, config: &VisionConfig) -> Result<Self, Error> {
        let proj = build.dense(
            "visual.patch_embed.proj",
            [config.patch_dim(), config.embed_dim],
            false,
            Some(&config.patch_shape()),
        )?;
        Ok(Self { proj })
    }

    fn forward(&self, values: Vec<f32>, config: &VisionConfig) -> Tensor<2> {
        let weight = self.proj.weight.val();
        let values = Patches::tensor(values, config, &weight.device());
        self.proj.forward(values.cast(weight.dtype()))
    }
}

/// Attention of patches to those of their own run: a frame or a window.
#[derive(Module, Debug)]
struct Attention {
    qkv: Dense,
    proj: Dense,
}

impl Attention {
    fn new(build: &mut Builder<'_>, name: &str, width: usize) -> Result<Self, Error> {
        Ok(Self {
            qkv: build.dense(&format!("{name}.qkv"), [width, 3 * width], true, None)?,
            proj: build.dense(&format!("{name}.proj"), [width, width], true, None)?,
        })
    }

    /// `sizes` are the lengths of the runs, in order.
    fn forward(&self, x: Tensor<2>, rotary: &Rotary, sizes: &[usize], heads: usize) -> Tensor<2> {
        let attention = SelfAttention {
            turn: rotary.turn().clone(),
            sizes: sizes.to_vec(),
            heads,
        };
        self.proj.forward(attention.apply(self.qkv.forward(x)))
    }
}

/// Two layers that make one visual token of neighbouring patches, which come normalised.
#[derive(Module, Debug)]
struct Merger<N: Module> {
    ln_q: N,
    mlp: (Dense, nn::Gelu, Dense),
}

impl<N: Module> Merger<N> {
    fn new(
        build: &mut Builder<'_>,
        ln_q: N,
        config: &VisionConfig,
        out: usize,
    ) -> Result<Self, Error> {
        let merged = config.embed_dim * config.merge_size * config.merge_size;
        let mlp = (
            build.dense("visual.merger.mlp.0", [merged, merged], true, None)?,
            nn::Gelu::new(),
            build.dense("visual.merger.mlp.2", [merged, out], true, None)?,
        );
        Ok(Self { ln_q, mlp })
    }

    fn forward(&self, normed: Tensor<2>, config: &VisionConfig) -> Tensor<2> {
        let [patches, width] = normed.dims();
        let side = config.merge_size * config.merge_size;
        let (first, _, second) = &self.mlp;
        let merged = normed.reshape([patches / side, width * side]);
        second.forward(Gelu::Exact.apply(first.forward(merged)))
    }

    fn each_dense(&mut self, visit: &mut dyn FnMut(String, &mut Dense)) {
        visit("merger.mlp.0".into(), &mut self.mlp.0);
        visit("merger.mlp.2".into(), &mut self.mlp.2);
    }
}
