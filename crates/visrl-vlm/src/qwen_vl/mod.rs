//! Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL (arXiv 2511.21631): one
//! decoder, three vision towers.

mod added;
pub(crate) mod config;
mod default;
mod device_inputs;
mod known_fields;
mod load;
pub(crate) mod model;
mod positions;
mod rope;
mod rope_config;
mod sliding_windows;
mod step_decoder;
mod text;
mod vision;

pub use config::{QwenVlConfig, QwenVlKind, TextConfig, VisionConfig, Windows};
pub use model::QwenVl;
