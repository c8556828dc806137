//! Vision towers: images in, visual tokens out.

mod attention;
mod block;
pub(in crate::qwen_vl) mod inputs;
mod merger;
mod patches;
mod position_table;
mod qwen2;
mod qwen2_5;
mod qwen3;
pub(in crate::qwen_vl) mod tower;
mod windows;
