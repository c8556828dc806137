//! Files of JSON lines that a resumed run goes on with.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use visrl_core::files::{fault_in_line, from_json};

use super::append::{create, cut};
use crate::error::Error;

/// A file of one JSON value per line, flushed line by line.
#[derive(Debug)]
pub struct LineFile {
    path: PathBuf,
    file: BufWriter<File>,
}

impl LineFile {
    /// Creates the file, with its folder; one that is there is replaced.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn create(path: &Path) -> Result<Self, Error> {
        let file = create(path)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Goes on with a file: from the first line on that is not to be kept, or was not written to
    /// its end, it is cut. A file that is not there is created.
    ///
    /// # Errors
    /// [`Error::Files`] with the path; [`Error::File`] names a whole line that does not parse.
    pub fn resume<T: DeserializeOwned>(
        path: &Path,
        keep: impl FnMut(T) -> bool,
    ) -> Result<Self, Error> {
        let Some(len) = kept(path, keep)? else {
            return Self::create(path);
        };
        let file = cut(path, len)?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::new(file),
        })
    }

    /// Whether [`resume`](Self::resume) would find a file that it can go on with; nothing is
    /// changed.
    ///
    /// # Errors
    /// As [`resume`](Self::resume).
    pub fn check<T: DeserializeOwned>(
        path: &Path,
        keep: impl FnMut(T) -> bool,
    ) -> Result<(), Error> {
        kept(path, keep).map(drop)
    }

    /// Adds a line.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn write(&mut self, value: &impl Serialize) -> Result<(), Error> {
        let mut write = || -> std::io::Result<()> {
            serde_json::to_writer(&mut self.file, value)?;
            self.file.write_all(b"\n")?;
            self.file.flush()
        };
        write().map_err(|source| Error::io(&self.path, source))
    }

    /// Makes the lines durable.
    ///
    /// # Errors
    /// [`Error::Files`] with the path.
    pub fn sync(&mut self) -> Result<(), Error> {
        let file = self.file.get_ref();
        file.sync_data()
            .map_err(|source| Error::io(&self.path, source))
    }
}

/// The length of the lines that are to be kept; nothing where there is no file.
fn kept<T: DeserializeOwned>(
    path: &Path,
    mut keep: impl FnMut(T) -> bool,
) -> Result<Option<usize>, Error> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(|source| Error::io(path, source))?,
    };
    let mut len = 0;
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        if !line.ends_with(b"\n") {
            break;
        }
        let fault = |error| {
            let fault = fault_in_line(&error);
            Error::file(path, format!("line {}: {fault}", number + 1))
        };
        let value = from_json(line).map_err(fault)?;
        if !keep(value) {
            break;
        }
        len += line.len();
    }
    Ok(Some(len))
}
