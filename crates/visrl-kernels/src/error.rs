/// What can go wrong in an operation whose result is read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Targets or derivatives that do not fit their rows.
    #[error("{0}")]
    Targets(String),
    /// Numbers cannot be read from their device.
    #[error("reading a result from its device: {0}")]
    Device(String),
}

impl Error {
    pub(crate) fn device(error: impl std::fmt::Display) -> Self {
        Self::Device(error.to_string())
    }
}
