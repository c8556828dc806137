use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::Error;

/// The longest line read, in bytes.
pub(crate) const MAX_LINE: u64 = 1 << 20;

/// The longest path of an image, in bytes: more than file systems take.
pub(crate) const MAX_PATH: usize = 4096;

/// The longest class name or answer, in bytes.
pub(crate) const MAX_LABEL: usize = 1024;

/// The longest question, in bytes.
pub(crate) const MAX_QUESTION: usize = 64 << 10;

/// Gives every line of a file that is not blank to a function, with its number from 1 and without
/// blanks around it. One line is held at a time.
pub(crate) fn for_each_line(
    path: &Path,
    hint: &str,
    mut use_line: impl FnMut(usize, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let file = File::open(path).map_err(Error::io(path, hint))?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = (&mut reader)
            .take(MAX_LINE + 1)
            .read_until(b'\n', &mut bytes);
        if read.map_err(Error::io(path, hint))? == 0 {
            break;
        }
        if bytes.len() as u64 > MAX_LINE {
            return Err(Error::TooLarge {
                path: path.to_path_buf(),
                row: format!("line {line}"),
                field: "row".into(),
                size: bytes.len() as u64,
                unit: "bytes or more",
                limit: MAX_LINE,
                advice: "write one object per line, and images as paths",
            });
        }
        let mark = b"\xef\xbb\xbf";
        let text = match bytes.strip_prefix(mark) {
            Some(text) if line == 1 => text,
            _ => &bytes[..],
        };
        match text.trim_ascii() {
            [] => {}
            text => use_line(line, text)?,
        }
    }
    Ok(())
}

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
        field: field.to_owned(),
        size: text.len() as u64,
        unit: "bytes",
        limit: limit as u64,
        advice: "shorten it; is a quotation mark or a comma missing?",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Vec::new();
        for_each_line(&path, "rows", |line, text| {
            lines.push((line, text.to_vec()));
            Ok(())
        })?;
        Ok(lines)
    }

    #[test]
    fn blank_lines_are_counted_and_left_out() {
        let found = lines(b"\xef\xbb\xbfa \r\n\n \r\n b\xff").unwrap();
        assert_eq!(found, [(1, b"a".to_vec()), (4, b"b\xff".to_vec())]);
        assert!(lines(b"").unwrap().is_empty());
    }

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let mut bytes = vec![b'x'; MAX_LINE as usize - 1];
        bytes.extend(b"\ny");
        assert_eq!(lines(&bytes).unwrap().len(), 2);
        bytes.insert(0, b'x');
        bytes.insert(0, b'x');
        let message = lines(&bytes).unwrap_err().to_string();
        assert!(
            message.contains("rows: line 1: field `row`: 1048577 bytes or more"),
            "{message}"
        );
    }

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
