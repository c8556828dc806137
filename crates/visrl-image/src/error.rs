use visrl_core::files::FileError;

/// What can go wrong between a file and a vision tower's input.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file of settings.
    #[error(transparent)]
    File(#[from] FileError),
    /// An image cannot be read, decoded or used.
    #[error("image {name}: {message}")]
    Image {
        /// The image's path or name.
        name: String,
        /// What is wrong and what would be accepted.
        message: String,
    },
    /// A setting or a size that no image can have.
    #[error("{0}")]
    Input(String),
}

impl Error {
    /// What is wrong with the image of this name.
    pub(crate) fn image(name: &str, message: impl Into<String>) -> Self {
        Self::Image {
            name: name.to_owned(),
            message: message.into(),
        }
    }
}
