//! The tower of one of the family.

use burn::module::Module;
use burn::tensor::Tensor;

use super::inputs::TowerInputs;
use super::{qwen2, qwen2_5, qwen3};
use crate::checkpoint::layer_builder::LayerBuilder;
use crate::error::Error;
use crate::layers::lora_linear::LoraLinear;
use crate::qwen_vl::config::{QwenVlConfig, QwenVlKind, VisionConfig};

/// The tower of one of the family. A new one is a new variant.
#[derive(Module, Debug)]
pub(in crate::qwen_vl) enum VisionTower {
    Qwen2(qwen2::Tower),
    Qwen2_5(qwen2_5::Tower),
    Qwen3(qwen3::Tower),
}

impl VisionTower {
    pub(in crate::qwen_vl) fn new(
        build: &mut LayerBuilder<'_>,
        config: &QwenVlConfig,
    ) -> Result<Self, Error> {
        let (vision, out) = (&config.vision, config.text.hidden_size);
        Ok(match config.kind {
            QwenVlKind::Qwen2 => Self::Qwen2(qwen2::Tower::new(build, vision, out)?),
            QwenVlKind::Qwen2_5 => Self::Qwen2_5(qwen2_5::Tower::new(build, vision, out)?),
            QwenVlKind::Qwen3 => Self::Qwen3(qwen3::Tower::new(build, vision, out)?),
        })
    }

    /// The states before and after the merger, `[patches, embed]` and `[visual tokens, hidden]`;
    /// behind the latter's columns those of each deepstack merger, `hidden` more each.
    pub(in crate::qwen_vl) fn forward(
        &self,
        inputs: &TowerInputs,
        config: &VisionConfig,
    ) -> (Tensor<2>, Tensor<2>) {
        match self {
            Self::Qwen2(tower) => tower.forward(inputs, config),
            Self::Qwen2_5(tower) => tower.forward(inputs, config),
            Self::Qwen3(tower) => tower.forward(inputs, config),
        }
    }

    /// The weight that patches are read by.
    pub(in crate::qwen_vl) fn weight(&self) -> Tensor<2> {
        match self {
            Self::Qwen2(tower) => tower.weight(),
            Self::Qwen2_5(tower) => tower.weight(),
            Self::Qwen3(tower) => tower.weight(),
        }
    }

    pub(in crate::qwen_vl) fn each_dense(
        &mut self,
        visit: &mut dyn FnMut(String, &mut LoraLinear),
    ) {
        let visit =
            &mut |name: String, dense: &mut LoraLinear| visit(format!("visual.{name}"), dense);
        match self {
            Self::Qwen2(tower) => tower.each_dense(visit),
            Self::Qwen2_5(tower) => tower.each_dense(visit),
            Self::Qwen3(tower) => tower.each_dense(visit),
        }
    }
}
