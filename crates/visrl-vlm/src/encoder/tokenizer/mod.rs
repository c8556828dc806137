//! From text to token ids and back: the byte-level BPE tokenizer of a checkpoint folder.

mod added_tokens;
pub(crate) mod byte_level;
mod check;
mod known_settings;
pub(crate) mod special_tokens;
pub(crate) mod train_bpe;

pub use byte_level::Tokenizer;
pub use special_tokens::{IMAGE_PAD, SPECIAL_TOKENS, TURN_TOKENS, VIDEO_PAD, VISION_TOKENS};
pub use train_bpe::train_bpe;
