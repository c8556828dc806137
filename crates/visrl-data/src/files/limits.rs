use std::path::Path;

use crate::error::Error;

/// The longest line read, in bytes.
pub(crate) const MAX_LINE: u64 = 1 << 20;

/// The longest row that may hold pictures as text, in bytes.
pub(crate) const MAX_ROW: u64 = 64 << 20;

/// The largest list that is read whole, in bytes.
pub(crate) const MAX_LIST: u64 = 1 << 30;

/// The longest path of an image, in bytes: more than file systems take.
pub(crate) const MAX_PATH: usize = 4096;

/// The longest class name or answer, in bytes.
pub(crate) const MAX_LABEL: usize = 1024;

/// The longest question, in bytes.
pub(crate) const MAX_QUESTION: usize = 64 << 10;

/// Refuses a text that is longer than a limit, in bytes.
pub(crate) fn check_length(
    text: &str,
    limit: usize,
    path: &Path,
    row: impl FnOnce() -> String,
    field: &str,
) -> Result<(), Error> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        path: path.to_path_buf(),
        row: row(),
        field: field.into(),
        size: text.len() as u64,
        unit: "bytes",
        limit: limit as u64,
        advice: "shorten it; is a quotation mark or a comma missing?",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_refused() {
        let check = |text| check_length(text, 3, Path::new("f"), || "line 7".into(), "label");
        assert!(check("abc").is_ok());
        let message = check("abcd").unwrap_err().to_string();
        assert!(
            message.starts_with("f: line 7: field `label`: 4 bytes, the limit is 3; shorten it"),
            "{message}"
        );
    }
}
