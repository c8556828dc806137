//! Low-rank adapters (LoRA, arXiv 2106.09685) on a model's linear layers.

pub(crate) mod attach;
pub(crate) mod config;
mod python_regex;
pub(crate) mod targets;
