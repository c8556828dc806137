//! The contract of a vision-language model, and what sampling and learning do with it: segments of
//! rows that share a prefix, their cache and attention, prefill, and the model's parameters by
//! name.

pub(crate) mod attention;
pub(crate) mod batched_cache;
pub(crate) mod decoder_input;
pub(crate) mod feature_store;
pub(crate) mod index_tensor;
pub(crate) mod kv_cache;
pub(crate) mod parameter_path;
pub(crate) mod parameters;
pub(crate) mod part;
pub(crate) mod positions;
pub(crate) mod prefill;
pub(crate) mod segment;
pub(crate) mod step_decoder;
pub(crate) mod trainable;
pub(crate) mod vision_language_model;
