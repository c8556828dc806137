//! From a prompt to a model's input: the chat template renders it, images are prepared, the
//! tokenizer makes ids.

pub mod chat;
pub(crate) mod prompt_encoder;
mod text_only;
pub mod tokenizer;
