//! From a conversation to token ids: chat templates and image placeholders.

pub(crate) mod encoded_prompt;
pub(crate) mod template;

pub use encoded_prompt::EncodedPrompt;
pub use template::{ChatTemplate, QWEN2_VL_CHAT_TEMPLATE};
