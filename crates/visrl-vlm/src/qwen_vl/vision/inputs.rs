//! What a tower reads of images, on its device.

use std::sync::Arc;

use burn::tensor::{Int, Tensor, TensorData};
use visrl_image::ProcessedImage;
use visrl_kernels::Runs;

use super::patches::Patches;
use super::position_table::Taps;
use super::windows::WindowOrder;
use crate::error::Error;
use crate::model::index_tensor::index_tensor;
use crate::qwen_vl::config::VisionConfig;
use crate::qwen_vl::rope::Rotary;

/// The patches of all images, one after another, and what belongs to them. Tensors are plain.
#[derive(Debug)]
pub(in crate::qwen_vl) struct TowerInputs {
    /// `[patches, patch_dim]`, in the format of the weights.
    pub(super) values: Tensor<2>,
    pub(super) rotary: Rotary,
    /// The patches of each frame; frames attend to themselves alone.
    pub(super) frames: Runs,
    pub(super) windows: Option<Windows>,
    /// What patches read of a table of positions.
    pub(super) taps: Option<Taps>,
}

/// Windows, in whose order patches then are.
#[derive(Debug)]
pub(super) struct Windows {
    /// The patches of each.
    pub(super) runs: Runs,
    /// For each visual token in the order of images its place in that of windows.
    pub(super) back: Tensor<1, Int>,
}

impl TowerInputs {
    /// Of images, on the device and in the format of a weight.
    ///
    /// # Errors
    /// [`Error::Input`] when an image was prepared for another model.
    pub(in crate::qwen_vl) fn new(
        images: &[Arc<ProcessedImage>],
        config: &VisionConfig,
        weight: &Tensor<2>,
    ) -> Result<Self, Error> {
        let mut patches = Patches::new(images, config)?;
        let weight = weight.clone().without_autodiff();
        let device = weight.device();
        let windows = config.windows.as_ref().map(|_| {
            let order = WindowOrder::new(&patches.frames, config);
            let unit = config.merge_size * config.merge_size;
            patches.values = order.arrange(&patches.values, unit * config.patch_dim());
            patches.positions = order.arrange(&patches.positions, unit);
            Windows {
                runs: Runs::new(order.windows.iter().map(|tokens| tokens * unit).collect()),
                back: index_tensor(order.inverse(), &device),
            }
        });
        let taps = config.position_embeddings.map(|_| {
            let side = config.position_side();
            Taps::new(&patches.positions, &patches.frames, side, &weight)
        });
        let head_dim = config.embed_dim / config.heads;
        let rotary = Rotary::plane(&patches.positions, head_dim, config.rope_theta);
        let shape = [patches.positions.len(), config.patch_dim()];
        let frames = Runs::new(patches.sizes());
        let values = TensorData::new(patches.values, shape).convert_dtype(weight.dtype());
        Ok(Self {
            values: Tensor::from_data(values, (&device, weight.dtype())),
            rotary,
            frames,
            windows,
            taps,
        })
    }

    /// Whether they are where a weight is, in its format.
    pub(in crate::qwen_vl) fn fit(&self, weight: &Tensor<2>) -> bool {
        let device = weight.clone().without_autodiff().device();
        self.values.dtype() == weight.dtype() && self.values.device() == device
    }

    /// The bytes of pixels and rotation, which are most of all.
    pub(in crate::qwen_vl) fn bytes(&self) -> usize {
        let [patches, width] = self.values.dims();
        patches * width * self.values.dtype().size() + self.rotary.bytes()
    }
}
