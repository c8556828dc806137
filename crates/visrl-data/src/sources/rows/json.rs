use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use visrl_core::files::fault_in_line;

use crate::error::Error;
use crate::files::limits::{MAX_LIST, MAX_ROW};
use crate::files::lines::for_each_line;
use crate::sources::rows::at::At;
use crate::sources::rows::numbers::Numbers;
use crate::sources::rows::value::Value;

const HINT: &str = "a file of JSON lines, or a JSON array";

/// Gives each row of JSON lines, or of a JSON array, to a function.
pub(crate) fn for_each_row(
    path: &Path,
    mut use_row: impl FnMut(At<'_>, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    if first_byte(path)? == Some(b'[') {
        return array(path, &mut use_row);
    }
    for_each_line(path, HINT, MAX_ROW, |line, text| {
        let at = At::line(path, line as u64);
        let row = Value::of_json(text).map_err(|error| at.error("row", fault_in_line(&error)))?;
        use_row(at, row)
    })
}

/// The first byte of a file that is not blank.
pub(crate) fn first_byte(path: &Path) -> Result<Option<u8>, Error> {
    let file = File::open(path).map_err(Error::io(path, HINT))?;
    let mut start = Vec::new();
    file.take(4096)
        .read_to_end(&mut start)
        .map_err(Error::io(path, HINT))?;
    Ok(without_mark(&start).trim_ascii_start().first().copied())
}

/// A whole file, without the byte order mark.
pub(crate) fn whole(path: &Path, limit: u64, hint: &str) -> Result<Vec<u8>, Error> {
    let file = File::open(path).map_err(Error::io(path, hint))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(Error::io(path, hint))?;
    if bytes.len() as u64 > limit {
        return Err(Error::TooLarge {
            path: path.to_path_buf(),
            row: "file".into(),
            field: "bytes".into(),
            size: bytes.len() as u64,
            unit: "bytes or more",
            limit,
            advice: "write one row on each line instead of one array",
        });
    }
    Ok(without_mark(&bytes).to_vec())
}

fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes)
}

fn array(
    path: &Path,
    use_row: &mut dyn FnMut(At<'_>, Value) -> Result<(), Error>,
) -> Result<(), Error> {
    let bytes = whole(path, MAX_LIST, HINT)?;
    let mut rows = Rows {
        path,
        use_row,
        numbers: Numbers::of(&bytes),
        next: 0,
        stopped: None,
    };
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let read = (&mut rows).deserialize(&mut json).and_then(|()| json.end());
    match (rows.stopped, read) {
        (Some(error), _) => Err(error),
        (None, Ok(())) => Ok(()),
        (None, Err(error)) => Err(At::row(path, rows.next).error("row", error.to_string())),
    }
}

/// Reads an array one row at a time.
struct Rows<'f> {
    path: &'f Path,
    use_row: &'f mut dyn FnMut(At<'_>, Value) -> Result<(), Error>,
    /// The numbers that come next, as they are written.
    numbers: Numbers<'f>,
    next: u64,
    stopped: Option<Error>,
}

impl<'de> DeserializeSeed<'de> for &mut Rows<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for &mut Rows<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list of rows")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(mut row) = list.next_element()? {
            self.numbers.write_into(&mut row);
            if let Err(error) = (self.use_row)(At::row(self.path, self.next), row) {
                self.stopped = Some(error);
                return Err(serde::de::Error::custom("stopped"));
            }
            self.next += 1;
        }
        Ok(())
    }
}
