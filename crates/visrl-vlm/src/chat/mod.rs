//! From a conversation to token ids: chat templates and image placeholders.

mod prompt;
mod python;
mod template;

pub use prompt::EncodedPrompt;
pub use template::{ChatTemplate, QWEN2_VL_CHAT_TEMPLATE};
