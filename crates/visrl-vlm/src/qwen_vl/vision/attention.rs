//! Attention within frames or windows.

use burn::module::Module;
use burn::tensor::Tensor;
use visrl_kernels::{Runs, SelfAttention};

use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::rope::Rotary;

/// The attention of patches within runs.
pub(super) fn self_attention(rotary: &Rotary, runs: &Runs, heads: usize) -> SelfAttention {
    SelfAttention {
        rotation: rotary.table().clone(),
        runs: runs.clone(),
        heads,
    }
}

/// Attention of patches to those of their own run: a frame or a window.
#[derive(Module, Debug)]
pub(super) struct Attention {
    pub(super) qkv: LoraLinear,
    pub(super) proj: LoraLinear,
}

impl Attention {
    pub(super) fn new(
        build: &mut LayerBuilder<'_>,
        name: &str,
        width: usize,
    ) -> Result<Self, Error> {
        Ok(Self {
            qkv: build.dense(&format!("{name}.qkv"), [width, 3 * width], true, None)?,
            proj: build.dense(&format!("{name}.proj"), [width, width], true, None)?,
        })
    }

    pub(super) fn forward(
        &self,
        x: Tensor<2>,
        rotary: &Rotary,
        runs: &Runs,
        heads: usize,
    ) -> Tensor<2> {
        let attention = self_attention(rotary, runs, heads);
        self.proj.forward(attention.apply(self.qkv.forward(x)))
    }
}
