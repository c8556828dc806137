use serde::{Deserialize, Serialize};

use crate::image_source::ImageSource;

/// Who speaks in a [`Message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions to the model.
    System,
    /// The person who asks.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The role's name in chat templates.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}

/// A piece of a [`Message`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// An image, at this place of the message.
    Image(ImageSource),
    /// A piece of text.
    Text(String),
}

/// One turn of a conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// What is said and shown, in order.
    pub content: Vec<Content>,
}

/// What a policy is asked: a conversation whose next turn is the assistant's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prompt {
    /// Names the prompt in logs and errors.
    pub id: String,
    /// The conversation, oldest turn first.
    pub messages: Vec<Message>,
}

impl Prompt {
    /// One user turn, image first and then the text: the form of the paper.
    pub fn user(id: impl Into<String>, image: ImageSource, text: impl Into<String>) -> Self {
        let content = vec![Content::Image(image), Content::Text(text.into())];
        Self {
            id: id.into(),
            messages: vec![Message {
                role: Role::User,
                content,
            }],
        }
    }

    /// The images of all turns, in order.
    pub fn images(&self) -> impl Iterator<Item = &ImageSource> {
        self.messages
            .iter()
            .flat_map(|message| &message.content)
            .filter_map(|part| match part {
                Content::Image(image) => Some(image),
                Content::Text(_) => None,
            })
    }
}
