//! Checkpoint folders in Hugging Face layout: weights in and out, the files beside them, adapters.

pub(crate) mod checkpoint_files;
pub(crate) mod config_files;
mod generation_fields;
pub(crate) mod hub;
pub(crate) mod layer_builder;
pub(crate) mod load_model;
pub(crate) mod peft;
mod peft_config;
pub(crate) mod pretrained;
pub(crate) mod save;
mod saved_modules;
mod transpose;
pub(crate) mod weights;
