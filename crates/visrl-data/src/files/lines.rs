use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use crate::error::Error;
use crate::files::limits::MAX_LINE;

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
}
