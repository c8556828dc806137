//! Vision towers: images in, visual tokens out.

mod attention;
mod merger;
mod patches;
mod qwen2;
mod qwen2_5;
pub(in crate::qwen_vl) mod tower;
mod windows;
