//! Writing weights in Hugging Face layout.

pub(crate) mod config_dtype;
pub(crate) mod save_options;
pub(crate) mod save_weights;
pub(crate) mod shards;
