use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;

use super::FileError;
use super::tables::from_json;

/// Whether a program may write its file at a path: nothing is there, or an earlier file of its own,
/// which `is_own` knows by what is in it. No other file is replaced.
///
/// # Errors
/// [`FileError::Damaged`] for a file of somebody else, for a folder and for what cannot be read.
pub fn check_replaceable(path: &Path, is_own: impl FnOnce(&[u8]) -> bool) -> Result<(), FileError> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    if path.is_dir() {
        return Err(FileError::damaged(path, "is a folder: name a file"));
    }
    match fs::read(path) {
        Ok(bytes) if is_own(&bytes) => Ok(()),
        _ => {
            let message = "is there and not what is written by this name: it is not replaced, name \
                           another file";
            Err(FileError::damaged(path, message))
        }
    }
}

/// As [`check_replaceable`], for a JSON file of a `T`.
///
/// # Errors
/// As [`check_replaceable`].
pub fn check_replaceable_json<T: DeserializeOwned>(path: &Path) -> Result<(), FileError> {
    check_replaceable(path, |bytes| from_json::<T>(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_of_one_s_own_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        let check = || check_replaceable_json::<Vec<u32>>(&path).map_err(|e| e.to_string());
        check().unwrap();
        fs::write(&path, "[1]").unwrap();
        check().unwrap();
        for other in ["{}", "", "[\"x\"]"] {
            fs::write(&path, other).unwrap();
            let error = check().unwrap_err();
            assert!(
                error.contains("a.json: is there and not what is written"),
                "{error}"
            );
        }
        let folder = check_replaceable(dir.path(), |_| true)
            .unwrap_err()
            .to_string();
        assert!(folder.ends_with(": is a folder: name a file"), "{folder}");
    }
}
