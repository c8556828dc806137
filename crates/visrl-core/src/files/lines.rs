use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use super::FileError;

/// Gives every line of a file that is not blank to a function, with its number from 1 and without
/// blanks (and a byte order mark) around it. One line is held at a time.
///
/// # Errors
/// [`FileError::Io`], [`FileError::LongLine`] for a line of more than `limit` bytes, or what
/// `use_line` returns.
pub fn for_each_line<E: From<FileError>>(
    path: &Path,
    limit: u64,
    mut use_line: impl FnMut(usize, &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let failed = |source| FileError::io(path, source);
    let file = File::open(path).map_err(failed)?;
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = (&mut reader).take(limit + 1).read_until(b'\n', &mut bytes);
        if read.map_err(failed)? == 0 {
            break;
        }
        if bytes.len() as u64 > limit {
            let path = path.to_owned();
            return Err(FileError::LongLine { path, line, limit }.into());
        }
        let text = match bytes.strip_prefix(b"\xef\xbb\xbf") {
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

/// What a parser says of a line, which is all it saw: the column, without the number of a line that
/// would always be the first.
pub fn fault_in_line(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let (line, column) = (error.line(), error.column());
    match text.strip_suffix(&format!(" at line {line} column {column}")) {
        Some(fault) => format!("{fault} at column {column}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(bytes: &[u8]) -> Result<Vec<(usize, Vec<u8>)>, FileError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, bytes).unwrap();
        let mut lines = Vec::new();
        for_each_line(&path, 8, |line, text| {
            lines.push((line, text.to_vec()));
            Ok::<_, FileError>(())
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
        assert_eq!(lines(b"1234567\n8").unwrap().len(), 2);
        let message = lines(b"1\n23456789\n").unwrap_err().to_string();
        assert!(
            message.ends_with("rows: line 2: longer than 8 bytes"),
            "{message}"
        );
    }

    #[test]
    fn a_fault_in_a_line_has_a_column_alone() {
        let fault = |text: &str| {
            let read = serde_json::from_str::<Vec<u8>>(text);
            fault_in_line(&read.unwrap_err())
        };
        assert_eq!(fault("[1, 2"), "EOF while parsing a list at column 5");
        assert_eq!(fault("[1 2]"), "expected `,` or `]` at column 4");
        assert!(fault("{}").starts_with("invalid type: map, expected a sequence at column"));
    }
}
