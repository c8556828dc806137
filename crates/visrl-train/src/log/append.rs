//! Files that grow while a run goes on.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom};
use std::path::Path;

use crate::error::Error;

/// Creates a file with its folder; one that is there is replaced.
pub(super) fn create(path: &Path) -> Result<File, Error> {
    let create = || {
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        File::create(path)
    };
    create().map_err(|source| Error::io(path, source))
}

/// Opens a file to go on after its first `length` bytes; what follows them is cut.
pub(super) fn cut(path: &Path, length: usize) -> Result<File, Error> {
    let open = || {
        let mut file = File::options().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok(file)
    };
    open().map_err(|source| Error::io(path, source))
}
