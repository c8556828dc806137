use std::path::{Path, PathBuf};

use visrl_core::files::FileError;

/// What can go wrong between a folder on disk and a model's output.
///
/// Every variant names the file or the image, and the field or tensor in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written, or does not parse.
    #[error(transparent)]
    File(#[from] FileError),
    /// A weights file is damaged or its header cannot be used.
    #[error("{}: {message}", path.display())]
    Weights {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A tensor the model needs is in no file.
    #[error("{}: tensor `{tensor}` is missing", path.display())]
    MissingTensor {
        /// The file or folder searched.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        tensor: String,
    },
    /// A tensor has another shape than the configuration asks for.
    #[error("{}: tensor `{tensor}` has shape {found:?}, expected {expected:?}", path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The tensor's Hugging Face name.
        tensor: String,
        /// The shape in the file.
        found: Vec<usize>,
        /// The shape that the configuration implies.
        expected: Vec<usize>,
    },
    /// An image or the settings of its processor.
    #[error(transparent)]
    Image(#[from] visrl_image::Error),
    /// A tokenizer file is damaged or lacks a token that the model needs.
    #[error("{}: {message}", path.display())]
    Tokenizer {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A chat template does not parse or refuses a conversation.
    #[error("{}: chat template: {message}", path.display())]
    Template {
        /// The file that holds the template.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A prompt cannot be used.
    #[error("prompt {id}: {message}")]
    Prompt {
        /// The prompt's id.
        id: String,
        /// What is wrong.
        message: String,
    },
    /// A model of the Hugging Face hub cannot be had.
    #[error("{model}: {message}")]
    Hub {
        /// Its name.
        model: String,
        /// What is wrong and what to do.
        message: String,
    },
    /// An adapter cannot be made or used.
    #[error("adapter: {0}")]
    Adapter(String),
    /// Tensors given to a model do not fit together.
    #[error("{0}")]
    Input(String),
}

impl Error {
    pub(crate) fn io(path: &Path, source: std::io::Error) -> Self {
        FileError::io(path, source).into()
    }

    pub(crate) fn hub(model: &impl ToString, message: impl Into<String>) -> Self {
        Self::Hub {
            model: model.to_string(),
            message: message.into(),
        }
    }

    pub(crate) fn field(path: &Path, field: &str, message: impl Into<String>) -> Self {
        FileError::field(path, field, message).into()
    }
}
