//! The published shapes of the families.

#![allow(unreachable_pub)]

use clap::ValueEnum;
use visrl::image::Qwen2VlProcessorConfig;

/// The published shapes, with their `config.json`.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Shape {
    #[value(name = "qwen2-vl-2b")]
    Qwen2Vl2b,
    #[value(name = "qwen2-vl-7b")]
    Qwen2Vl7b,
    #[value(name = "qwen2.5-vl-3b")]
    Qwen2_5Vl3b,
    #[value(name = "qwen2.5-vl-7b")]
    Qwen2_5Vl7b,
    #[value(name = "qwen3-vl-2b")]
    Qwen3Vl2b,
    #[value(name = "qwen3-vl-4b")]
    Qwen3Vl4b,
    #[value(name = "qwen3-vl-8b")]
    Qwen3Vl8b,
}

impl Shape {
    /// Its `config.json`.
    pub fn config(self) -> &'static str {
        match self {
            Self::Qwen2Vl2b => include_str!("shapes/qwen2-vl-2b.json"),
            Self::Qwen2Vl7b => include_str!("shapes/qwen2-vl-7b.json"),
            Self::Qwen2_5Vl3b => include_str!("shapes/qwen2.5-vl-3b.json"),
            Self::Qwen2_5Vl7b => include_str!("shapes/qwen2.5-vl-7b.json"),
            Self::Qwen3Vl2b => include_str!("shapes/qwen3-vl-2b.json"),
            Self::Qwen3Vl4b => include_str!("shapes/qwen3-vl-4b.json"),
            Self::Qwen3Vl8b => include_str!("shapes/qwen3-vl-8b.json"),
        }
    }

    /// The image processor with the paper's settings, for the patches of the shape.
    pub fn processor(self) -> Qwen2VlProcessorConfig {
        let or = Qwen2VlProcessorConfig::default();
        match self {
            Self::Qwen3Vl2b | Self::Qwen3Vl4b | Self::Qwen3Vl8b => Qwen2VlProcessorConfig {
                patch_size: 16,
                image_mean: [0.5; 3],
                image_std: [0.5; 3],
                ..or
            },
            Self::Qwen2Vl2b | Self::Qwen2Vl7b | Self::Qwen2_5Vl3b | Self::Qwen2_5Vl7b => or,
        }
    }
}
