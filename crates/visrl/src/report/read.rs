use std::path::Path;

use serde::de::DeserializeOwned;
use visrl_core::files::FileError;

use crate::error::Error;

/// A JSON file, if it is there.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::io(path, source).into()),
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| Error::file(path, error.to_string())),
    }
}

/// The lines of a file of JSON lines, if it is there.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| FileError::io(path, source))?,
    };
    let lines = text.lines().enumerate();
    lines
        .map(|(number, line)| {
            serde_json::from_str(line)
                .map_err(|error| Error::file(path, format!("line {}: {error}", number + 1)))
        })
        .collect()
}
