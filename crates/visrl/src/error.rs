use std::path::PathBuf;

use visrl_core::files::FileError;

use crate::device::DeviceError;

/// What can go wrong in a run, from reading its file to writing its summary.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device cannot be had.
    #[error("device: {0}")]
    Device(#[from] DeviceError),
    /// The device has less memory left than the run needs beside its model.
    #[error(
        "device: the run needs about {:.1} GB beside the model and the device has {:.1} GB left \
         (estimated: {plan}): set `fine_tune.learner.micro_batch_groups = 1` or \
         `fine_tune.learner.recompute = 1`, train adapters (`fine_tune.lora`) or fewer parts \
         (`fine_tune.learner.trainable`), or load the model in bf16 (`model.load.dtype`)",
        *.needed as f64 / 1e9, *.free as f64 / 1e9
    )]
    Room {
        /// Bytes that come on top of the model.
        needed: u64,
        /// Bytes that are left.
        free: u64,
        /// The estimate by purpose.
        plan: String,
    },
    /// The text of a run does not parse: the line, the field and what was expected there.
    #[error(transparent)]
    Toml(Box<toml::de::Error>),
    /// A setting that no file can hold.
    #[error(transparent)]
    ToToml(Box<toml::ser::Error>),
    /// The model, its files or its input.
    #[error(transparent)]
    Model(Box<visrl_vlm::Error>),
    /// Data.
    #[error(transparent)]
    Data(Box<visrl_data::Error>),
    /// Rewards.
    #[error(transparent)]
    Reward(#[from] visrl_reward::Error),
    /// The policy loss or the advantages.
    #[error(transparent)]
    Grpo(#[from] visrl_grpo::Error),
    /// Sampling.
    #[error(transparent)]
    Rollout(#[from] visrl_rollout::Error),
    /// Training or evaluating.
    #[error(transparent)]
    Training(Box<visrl_train::Error>),
    /// A file could not be read or written.
    #[error(transparent)]
    Files(#[from] FileError),
    /// A file cannot be used: it does not parse, or is of another run.
    #[error("{}: {message}", path.display())]
    File {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// A row of a data file cannot be asked: its picture is damaged, its prompt too long.
    #[error("{place}: field `{field}`: {source}")]
    Row {
        /// The file and the row.
        place: String,
        /// The column.
        field: String,
        /// What is wrong with it.
        source: Box<Error>,
    },
    /// A setting, or the data of a run, cannot be used.
    #[error("`{name}` {message}")]
    Setting {
        /// Its name in a run file, with dots between levels.
        name: String,
        /// What is wrong with it and what is expected.
        message: String,
    },
    /// A setting of a run that was read from a file.
    #[error("run file {}: {source}", path.display())]
    RunFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with the setting.
        source: Box<Error>,
    },
    /// A part of one's own that a run names, and nobody gave.
    #[error(
        "{}no {kind} of the name `{name}` is registered; there are: {known}",
        setting_of(kind)
    )]
    UnknownName {
        /// What it is: a data set, a loss.
        kind: &'static str,
        /// The name in the run.
        name: String,
        /// The registered names.
        known: String,
    },
    /// The run was asked to end, and did so after a step.
    #[error(
        "interrupted after {step} steps; {} keeps them: run again with `resume` to go on",
        checkpoint.display()
    )]
    Interrupted {
        /// Steps made.
        step: usize,
        /// The folder of the checkpoint.
        checkpoint: PathBuf,
    },
}

/// Where a run file names a part of one's own, as the beginning of a message.
fn setting_of(kind: &str) -> &'static str {
    match kind {
        "loss" => "`fine_tune.loss`: ",
        "data set" => "`source.name`: ",
        _ => "",
    }
}

impl From<toml::de::Error> for Error {
    fn from(error: toml::de::Error) -> Self {
        Self::Toml(Box::new(error))
    }
}

impl From<visrl_train::Error> for Error {
    fn from(error: visrl_train::Error) -> Self {
        Self::Training(Box::new(error))
    }
}

impl From<visrl_vlm::Error> for Error {
    fn from(error: visrl_vlm::Error) -> Self {
        Self::Model(Box::new(error))
    }
}

impl From<visrl_data::Error> for Error {
    fn from(error: visrl_data::Error) -> Self {
        Self::Data(Box::new(error))
    }
}

impl From<toml::ser::Error> for Error {
    fn from(error: toml::ser::Error) -> Self {
        Self::ToToml(Box::new(error))
    }
}

impl Error {
    pub(crate) fn setting(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Setting {
            name: name.into(),
            message: message.into(),
        }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, message: impl Into<String>) -> Self {
        Self::File {
            path: path.into(),
            message: message.into(),
        }
    }
}
