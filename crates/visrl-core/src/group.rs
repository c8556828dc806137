use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::Prompt;

/// Why a completion ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// The model produced one of its end tokens; it is the completion's last token.
    Eos,
    /// The limit of new tokens was reached: the completion is truncated.
    MaxTokens,
    /// The text came to contain this stop string.
    StopString(String),
    /// The request was cancelled: the completion is truncated.
    Cancelled,
}

impl StopReason {
    /// Whether the completion was cut before the model ended it.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::MaxTokens | Self::Cancelled)
    }
}

/// One sampled answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Completion {
    /// Token ids, the end token included when there is one.
    pub tokens: Vec<u32>,
    /// Log-probability of each token under the full softmax at temperature 1 of the policy that
    /// sampled it, before penalty, bans and filters, in nats; as many as there are tokens.
    pub logprobs: Vec<f32>,
    /// The decoded text: without end tokens and others that steer a chat, and with tags that are
    /// special tokens.
    pub text: String,
    /// Why the completion ended.
    pub stop: StopReason,
}

/// A prompt and the completions sampled for it.
///
/// A group owns its prompt once: nothing in visrl takes rows that were repeated G times.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// What was asked.
    pub prompt: Arc<Prompt>,
    /// The G answers.
    pub completions: Vec<Completion>,
}

impl Group {
    /// The number of completions, G.
    pub fn len(&self) -> usize {
        self.completions.len()
    }

    /// Whether the group holds no completion.
    pub fn is_empty(&self) -> bool {
        self.completions.is_empty()
    }
}
