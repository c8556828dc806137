use std::path::PathBuf;

use visrl_core::files::FileError;

/// What can go wrong while training or evaluating.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The model, its files or its input.
    #[error(transparent)]
    Model(#[from] visrl_vlm::Error),
    /// Sampling.
    #[error(transparent)]
    Rollout(#[from] visrl_rollout::Error),
    /// The policy loss or the advantages.
    #[error(transparent)]
    Grpo(#[from] visrl_grpo::Error),
    /// Rewards: a rule could not score.
    #[error(transparent)]
    Reward(#[from] visrl_reward::Error),
    /// Data.
    #[error(transparent)]
    Data(#[from] visrl_data::Error),
    /// A setting cannot be used.
    #[error("`{field}` {message}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it and what is expected.
        message: String,
    },
    /// A loss or a gradient is not a number.
    #[error("{what} is not finite at step {step}: lower the learning rate or clip the gradient")]
    NotFinite {
        /// Which number.
        what: &'static str,
        /// The step, from 0.
        step: usize,
    },
    /// An operation of the model's mathematics.
    #[error(transparent)]
    Kernel(#[from] visrl_kernels::Error),
    /// The device failed to return a result.
    #[error("reading from the device: {0}")]
    Device(String),
    /// A file of a run cannot be used: a damaged checkpoint, a line that does not parse.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// A file of the run could not be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
    /// What a sink, an observer or another part of one's own says.
    #[error(transparent)]
    Own(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    pub(crate) fn device(error: impl std::fmt::Display) -> Self {
        Self::Device(error.to_string())
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        FileError::io(&path.into(), source).into()
    }

    /// An error of a part of one's own.
    pub fn own(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Own(error.into())
    }

    /// A file that cannot be used, by name.
    pub fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }

    pub(crate) fn config(field: &'static str, message: impl Into<String>) -> Self {
        Self::Config {
            field,
            message: message.into(),
        }
    }
}
