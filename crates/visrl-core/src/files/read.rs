use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FileError;
use super::json_text::{byte_order_mark, look_through};
use super::tables::from_json_in;
use crate::warn_once::warn_once;

/// Reads a file whole, refusing one that is larger than `limit` bytes before it is read.
///
/// # Errors
/// [`FileError::Io`] when it cannot be read, [`FileError::TooLarge`].
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::io(path, source);
    let bytes = fs::metadata(path).map_err(failed)?.len();
    if bytes > limit {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            bytes,
            limit,
        });
    }
    fs::read(path).map_err(failed)
}

/// Reads a text file whole, refusing one that is larger than `limit` bytes before it is read.
///
/// # Errors
/// As [`read`]; [`FileError::Io`] also for text that is not UTF-8.
pub fn read_text(path: &Path, limit: u64) -> Result<String, FileError> {
    String::from_utf8(read(path, limit)?).map_err(|error| {
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, error.utf8_error());
        FileError::io(path, source)
    })
}

/// Reads a JSON file, refusing one that is larger than `limit` bytes before it is read.
///
/// # Errors
/// As [`read`]; [`FileError::Json`] when it does not parse or a field has the wrong type,
/// [`FileError::Field`] for a `NaN` and [`FileError::Damaged`] for another encoding than UTF-8.
pub fn read_json<T: DeserializeOwned>(path: &Path, limit: u64) -> Result<T, FileError> {
    parse_json(path, &read(path, limit)?)
}

/// Reads a JSON file of one object; a field that is there twice, of which the last one counts, is told
/// in a warning.
///
/// # Errors
/// As [`read_json`]; [`FileError::Damaged`] for anything but an object.
pub fn read_value(path: &Path, limit: u64) -> Result<Value, FileError> {
    parse_value(path, &read(path, limit)?)
}

/// The object in the bytes of a JSON file, as [`read_value`] reads it.
///
/// # Errors
/// As [`parse_json`]; [`FileError::Damaged`] for anything but an object.
pub fn parse_value(path: &Path, bytes: &[u8]) -> Result<Value, FileError> {
    let value: Value = parse_json(path, bytes)?;
    let kind = match &value {
        Value::Object(_) => None,
        Value::Array(_) => Some("a list"),
        Value::String(_) => Some("a text"),
        Value::Number(_) => Some("a number"),
        Value::Bool(_) => Some("a truth value"),
        Value::Null => Some("null"),
    };
    if let Some(kind) = kind {
        return Err(FileError::damaged(
            path,
            format!("is {kind}, expected an object"),
        ));
    }
    if let Some(field) = look_through(bytes).twice {
        let message = "is there twice; the last one counts, as in Python";
        warn_once(FileError::field(path, &field, message).to_string());
    }
    Ok(value)
}

/// What the bytes of a JSON file hold, as [`read_json`] reads it.
///
/// # Errors
/// [`FileError::Json`], [`FileError::Field`] and [`FileError::Damaged`], as [`read_json`].
pub fn parse_json<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, FileError> {
    from_json_in(bytes).map_err(|(source, listed)| {
        match listed {
            Some(field) if field.is_empty() => {
                return FileError::damaged(path, "is a list, expected an object");
            }
            Some(field) => return FileError::field(path, &field, "is a list, expected an object"),
            None => {}
        }
        if let Some(format) = byte_order_mark(bytes) {
            return FileError::damaged(path, format!("is {format}; save it as plain UTF-8"));
        }
        match look_through(bytes).no_number {
            Some((field, number)) if source.is_syntax() => {
                let message = format!("is {number}, which is no number of JSON's");
                FileError::field(path, &field, message)
            }
            _ => FileError::json(path, source),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_name_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let message = |result: Result<Vec<u32>, FileError>| result.unwrap_err().to_string();
        assert!(message(read_json(&path, 9)).contains("config.json: "));
        fs::write(&path, "[1, 2, x]").unwrap();
        assert!(message(read_json(&path, 9)).contains("config.json: expected value at line 1"));
        fs::write(&path, "[1, 2, 3] ").unwrap();
        assert!(message(read_json(&path, 9)).ends_with("has 10 bytes, more than the 9 allowed"));
        assert_eq!(read_json::<Vec<u32>>(&path, 10).unwrap(), [1, 2, 3]);
        fs::write(&path, "[NaN]").unwrap();
        assert!(message(read_json(&path, 9)).contains("config.json: field `0`: is NaN"));
        fs::write(&path, "\u{feff}[]").unwrap();
        assert!(message(read_json(&path, 9)).contains("config.json: is UTF-8 with a byte order"));
        for (text, kind) in [("[]", "a list"), ("1", "a number"), ("null", "null")] {
            fs::write(&path, text).unwrap();
            let message = read_value(&path, 9).unwrap_err().to_string();
            let expected = format!("config.json: is {kind}, expected an object");
            assert!(message.ends_with(&expected), "{message}");
        }
        fs::write(&path, b"\xff").unwrap();
        assert!(
            read_text(&path, 9)
                .unwrap_err()
                .to_string()
                .contains("config.json: ")
        );
    }
}
