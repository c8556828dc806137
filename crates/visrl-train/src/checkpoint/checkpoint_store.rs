//! The folder of a run's checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use visrl_core::files::{seal, verify, write_dir};
use visrl_vlm::VisionLanguageModel;

use super::train_state::TrainState;
use crate::error::Error;
use crate::learner::Learner;

/// Beginning of the names of folders on their way in (as [`write_dir`] calls them) and
/// on their way out; a killed process leaves them behind.
const SAVING: &str = ".saving-";
const REMOVING: &str = ".removing-";
const STATE: &str = "state.json";

/// Keeps the checkpoints of one run as folders `step-N` below one folder.
///
/// A checkpoint appears and disappears in one step each, so every `step-N` is whole. One process
/// at a time may use the folder.
#[derive(Clone, Debug)]
pub struct CheckpointStore {
    dir: PathBuf,
    keep: usize,
}

/// A checkpoint whose files are as they were written.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub dir: PathBuf,
    /// What the run knew.
    pub state: TrainState,
}

impl CheckpointStore {
    /// A store that keeps the newest `keep` checkpoints, at least one.
    pub fn new(dir: impl Into<PathBuf>, keep: usize) -> Self {
        Self {
            dir: dir.into(),
            keep: keep.max(1),
        }
    }

    /// The folder of the checkpoint after so many steps.
    pub fn path(&self, step: usize) -> PathBuf {
        self.dir.join(format!("step-{step}"))
    }

    /// Writes the checkpoint of a state, removes those that are too old, and gives its folder.
    ///
    /// # Errors
    /// [`Error::Files`] with the path; checkpoints that were there stay.
    pub fn save<M: VisionLanguageModel>(
        &self,
        state: &mut TrainState,
        learner: &Learner<M>,
    ) -> Result<PathBuf, Error> {
        let dir = self.path(state.step);
        write_dir(&dir, |new| {
            state.learner = learner.save_state(new)?;
            state.write(&new.join(STATE))?;
            Ok::<_, Error>(seal(new)?)
        })?;
        for (_, old) in self.list()?.iter().rev().skip(self.keep) {
            self.remove(old)?;
        }
        Ok(dir)
    }

    /// The newest checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] and [`Error::Files`] name the file that is damaged, or missing where the
    /// folder was not copied whole; what to do about it is for the user to say.
    pub fn latest(&self) -> Result<Option<Checkpoint>, Error> {
        let Some((_, dir)) = self.list()?.pop() else {
            return Ok(None);
        };
        verify(&dir)?;
        let state = TrainState::read(&dir.join(STATE))?;
        Ok(Some(Checkpoint { dir, state }))
    }

    /// Removes all checkpoints, and what killed processes left behind.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn clear(&self) -> Result<(), Error> {
        for (_, dir) in self.list()? {
            self.remove(&dir)?;
        }
        self.sweep()
    }

    /// Removes what killed processes left behind.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn sweep(&self) -> Result<(), Error> {
        for path in self.entries()? {
            let name = path.file_name().map(|name| name.to_string_lossy());
            if name.is_some_and(|name| name.starts_with(SAVING) || name.starts_with(REMOVING)) {
                fs::remove_dir_all(&path).map_err(|source| Error::io(path, source))?;
            }
        }
        Ok(())
    }

    /// The checkpoints by steps.
    fn list(&self) -> Result<Vec<(usize, PathBuf)>, Error> {
        let step = |path: &Path| -> Option<usize> {
            let name = path.file_name()?.to_str()?;
            name.strip_prefix("step-")?.parse().ok()
        };
        let entries = self.entries()?.into_iter();
        let mut found: Vec<_> = entries
            .filter_map(|path| Some((step(&path)?, path)))
            .collect();
        found.sort();
        Ok(found)
    }

    fn entries(&self) -> Result<Vec<PathBuf>, Error> {
        let failed = |source| Error::io(&self.dir, source);
        match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(failed(error)),
            Ok(entries) => entries
                .map(|entry| Ok(entry.map_err(failed)?.path()))
                .collect(),
        }
    }

    /// First out of sight in one step, then file by file.
    fn remove(&self, dir: &Path) -> Result<(), Error> {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        let away = self.dir.join(format!("{REMOVING}{name}"));
        let remove = || -> std::io::Result<()> {
            if away.exists() {
                fs::remove_dir_all(&away)?;
            }
            fs::rename(dir, &away)?;
            fs::remove_dir_all(&away)
        };
        remove().map_err(|source| Error::io(dir, source))
    }
}
