use std::path::Path;

use serde::de::DeserializeOwned;
use visrl_core::files::{FileError, fault_in_line, from_json};
use visrl_core::warn_once;

use crate::error::Error;

/// A JSON file, if it is there.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::io(path, source).into()),
        Ok(text) => from_json(&text)
            .map(Some)
            .map_err(|error| Error::file(path, error.to_string())),
    }
}

/// The lines of a file of JSON lines, if it is there. A last one without its end, which a run that
/// was killed or is going on leaves, is left out, and that is told.
pub(super) fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, Error> {
    let text = match std::fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        text => text.map_err(|source| FileError::io(path, source))?,
    };
    let mut read = Vec::new();
    for (number, line) in text.split_inclusive(|&byte| byte == b'\n').enumerate() {
        match from_json(line) {
            Ok(value) => read.push(value),
            Err(_) if !line.ends_with(b"\n") => warn_once(format!(
                "{}: line {}: is cut, as of a run that was killed in it: it is left out",
                path.display(),
                number + 1
            )),
            Err(error) => {
                let message = format!("line {}: {}", number + 1, fault_in_line(&error));
                return Err(Error::file(path, message));
            }
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_last_line_is_left_out_and_a_broken_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let read = |text: &[u8]| {
            std::fs::write(&path, text).unwrap();
            read_lines::<Vec<u32>>(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(b"[1]\n[2]\n"), Ok(vec![vec![1], vec![2]]));
        assert_eq!(read(b"[1]\n[2]"), Ok(vec![vec![1], vec![2]]));
        assert_eq!(read(b"[1]\n[2"), Ok(vec![vec![1]]));
        for broken in [
            &b"[1]\n[2\n"[..],
            b"[1]\n[2\n[3]\n",
            b"[1]\n\xff\n",
            b"[1]\n\n",
        ] {
            let error = read(broken).unwrap_err();
            assert!(error.contains("metrics.jsonl: line 2: "), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(read_lines::<u32>(&path).unwrap().is_empty());
    }
}
