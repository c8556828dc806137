use std::path::Path;

use visrl_core::files::{self, FileError};

use crate::error::Error;

/// What ends the reading of lines before their end.
enum Stop {
    File(FileError),
    Row(Error),
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

/// [`files::for_each_line`] up to so many bytes; `hint` says what a missing file is for.
pub(crate) fn for_each_line(
    path: &Path,
    hint: &str,
    limit: u64,
    mut use_line: impl FnMut(usize, &[u8]) -> Result<(), Error>,
) -> Result<(), Error> {
    let read = files::for_each_line(path, limit, |line, text| {
        use_line(line, text).map_err(Stop::Row)
    });
    read.map_err(|stop| match stop {
        Stop::Row(error) => error,
        Stop::File(FileError::LongLine { path, line, limit }) => Error::TooLarge {
            path,
            row: format!("line {line}"),
            field: "row".into(),
            size: limit + 1,
            unit: "bytes or more",
            limit,
            advice: "write one object per line, and images as paths",
        },
        Stop::File(error) => Error::file(hint)(error),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::limits::MAX_LINE;

    #[test]
    fn a_line_may_be_as_long_as_the_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        let lines = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut lines = 0;
            for_each_line(&path, "rows", MAX_LINE, |_, _| {
                lines += 1;
                Ok(())
            })
            .map(|()| lines)
        };
        let mut bytes = vec![b'x'; MAX_LINE as usize - 1];
        bytes.extend(b"\ny");
        assert_eq!(lines(&bytes).unwrap(), 2);
        bytes.splice(0..0, *b"xx");
        let message = lines(&bytes).unwrap_err().to_string();
        assert!(
            message.contains("rows: line 1: field `row`: 1048577 bytes or more"),
            "{message}"
        );
    }

    #[test]
    fn a_missing_file_has_a_hint_and_an_error_of_a_row_stays() {
        let missing = for_each_line(Path::new("no/such"), "the rows", MAX_LINE, |_, _| Ok(()));
        let message = missing.unwrap_err().to_string();
        assert_eq!(message, "no/such: not found: the rows");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows");
        std::fs::write(&path, "a\n").unwrap();
        let stopped = for_each_line(&path, "rows", MAX_LINE, |line, _| {
            Err(Error::dataset("d", format!("line {line}")))
        });
        assert_eq!(stopped.unwrap_err().to_string(), "data set `d`: line 1");
    }
}
