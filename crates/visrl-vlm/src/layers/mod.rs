//! Layers that models are made of.

pub(crate) mod lora_linear;
