//! The values that transformers gives to what a file leaves out (`Qwen2VLConfig`,
//! `Qwen2_5_VLConfig`, `Qwen3VLConfig` and their parts).

use super::config::QwenVlKind;

pub(super) const IMAGE_TOKEN_ID: u32 = 151_655;
pub(super) const VIDEO_TOKEN_ID: u32 = 151_656;
pub(super) const VISION_HEADS: usize = 16;
/// Qwen2.5-VL's width of the tower, too.
pub(super) const VISION_OUT: usize = 3584;
pub(super) const CHANNELS: usize = 3;
pub(super) const SLIDING_FROM: usize = 80;
pub(super) const VISION_ROPE_THETA: f64 = 1e4;

/// Of the language model.
pub(super) struct Text {
    pub(super) vocab_size: usize,
    pub(super) hidden_size: usize,
    pub(super) intermediate_size: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    /// Where it is not the hidden size over the heads.
    pub(super) head_dim: Option<usize>,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    pub(super) mrope_section: [usize; 3],
}

/// Of the vision tower.
pub(super) struct Vision {
    pub(super) depth: usize,
    /// The field of the tower's width, and the width.
    pub(super) width: (&'static str, usize),
    /// The field of the width of what it puts out.
    pub(super) out: &'static str,
    pub(super) intermediate_size: usize,
    pub(super) hidden_act: &'static str,
    pub(super) patch_size: usize,
}

impl QwenVlKind {
    pub(super) fn text(self) -> Text {
        match self {
            Self::Qwen2 | Self::Qwen2_5 => Text {
                vocab_size: 152_064,
                hidden_size: 8192,
                intermediate_size: 29_568,
                layers: 80,
                heads: 64,
                kv_heads: 8,
                head_dim: None,
                rms_norm_eps: 1e-5,
                rope_theta: 1e6,
                mrope_section: [16, 24, 24],
            },
            Self::Qwen3 => Text {
                vocab_size: 151_936,
                hidden_size: 4096,
                intermediate_size: 22_016,
                layers: 32,
                heads: 32,
                kv_heads: 32,
                head_dim: Some(128),
                rms_norm_eps: 1e-6,
                rope_theta: 5e5,
                mrope_section: [24, 20, 20],
            },
        }
    }

    pub(super) fn vision(self) -> Vision {
        match self {
            // The width of the MLP is `mlp_ratio` times the tower's.
            Self::Qwen2 => Vision {
                depth: 32,
                width: ("embed_dim", 1280),
                out: "hidden_size",
                intermediate_size: 5120,
                hidden_act: "quick_gelu",
                patch_size: 14,
            },
            Self::Qwen2_5 => Vision {
                depth: 32,
                width: ("hidden_size", VISION_OUT),
                out: "out_hidden_size",
                intermediate_size: 3420,
                hidden_act: "silu",
                patch_size: 14,
            },
            Self::Qwen3 => Vision {
                depth: 27,
                width: ("hidden_size", 1152),
                out: "out_hidden_size",
                intermediate_size: 4304,
                hidden_act: "gelu_pytorch_tanh",
                patch_size: 16,
            },
        }
    }
}
