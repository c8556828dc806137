//! Patches of images, where each lies, and their projection.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::kind::Autodiff;
use visrl_image::ProcessedImage;

use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::VisionConfig;

/// The patches of all images, one after another.
pub(super) struct Patches {
    /// `[patches, patch_dim]`, row major.
    pub(super) values: Vec<f32>,
    /// Row and column of each patch.
    pub(super) positions: Vec<[u32; 2]>,
    /// Height and width in patches of each frame; frames attend to themselves alone.
    pub(super) frames: Vec<[usize; 2]>,
}

impl Patches {
    pub(super) fn new(
        images: &[Arc<ProcessedImage>],
        config: &VisionConfig,
    ) -> Result<Self, Error> {
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
    pub(super) fn sizes(&self) -> Vec<usize> {
        self.frames.iter().map(|[h, w]| h * w).collect()
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
pub(super) struct PatchEmbed {
    proj: LoraLinear,
}

impl PatchEmbed {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        config: &VisionConfig,
        bias: bool,
    ) -> Result<Self, Error> {
        let proj = build.dense(
            "visual.patch_embed.proj",
            [config.patch_dim(), config.embed_dim],
            bias,
            Some(&config.patch_shape()),
        )?;
        Ok(Self { proj })
    }

    /// The weight of the projection.
    pub(super) fn weight(&self) -> Tensor<2> {
        self.proj.weight.val()
    }

    /// The states of patches, `[patches, embed]`, from their values.
    pub(super) fn forward(&self, values: &Tensor<2>) -> Tensor<2> {
        self.proj.forward(like(values, &self.weight()))
    }
}

/// A plain tensor on the device of a weight, where operations may be recorded.
pub(super) fn like<K: Autodiff, const D: usize>(
    plain: &Tensor<D, K>,
    weight: &Tensor<2>,
) -> Tensor<D, K> {
    match weight.is_autodiff() {
        true => plain.clone().autodiff(),
        false => plain.clone(),
    }
}
