//! What stands between a parquet file and the `parquet` crate: its panics become messages, and
//! footers and page headers are checked before it allocates what they ask for.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};

use parquet::errors::ParquetError;

use crate::sources::parquet::page::{PageHeader, encoding_name};
use crate::sources::parquet::thrift::{Fault, check_schema};

/// The most values of one page.
const MAX_PAGE_VALUES: u64 = 1 << 24;

/// The most values of a page that are read at once: those of a dictionary, or of lists.
const MAX_VALUES_AT_ONCE: u64 = 1 << 20;

fn read_at(mut file: &File, at: u64, most: u64, bytes: &mut Vec<u8>) -> std::io::Result<()> {
    bytes.clear();
    file.seek(SeekFrom::Start(at))?;
    file.take(most).read_to_end(bytes)?;
    Ok(())
}

/// Looks at the schema in the footer, which stands before the last eight bytes: its length and
/// the letters `PAR1`.
pub(crate) fn check_footer(file: &File, length: u64) -> Result<(), String> {
    let mut bytes = Vec::new();
    let io = |error: std::io::Error| error.to_string();
    let tail = length.checked_sub(8).ok_or("the file is too short")?;
    read_at(file, tail, 8, &mut bytes).map_err(io)?;
    let [a, b, c, d, b'P', b'A', b'R', b'1'] = bytes[..] else {
        return Err("the file does not end in `PAR1`".into());
    };
    let size = u64::from(u32::from_le_bytes([a, b, c, d]));
    let start = tail.checked_sub(size).ok_or("it is longer than the file")?;
    read_at(file, start, size, &mut bytes).map_err(io)?;
    check_schema(&bytes).map_err(|fault| match fault {
        Fault::Short => "it is cut short".into(),
        Fault::Wrong => "its schema is damaged or nested too deep".into(),
    })
}

/// Runs a piece of the `parquet` crate; its errors and panics become messages.
pub(crate) fn guarded<T>(run: impl FnOnce() -> Result<T, ParquetError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or(panic.downcast_ref::<&str>().copied());
            Err(format!(
                "damaged data ({})",
                message.unwrap_or("no message")
            ))
        }
    }
}

/// Refuses a page that is not read, or that takes more memory than it may.
pub(crate) fn check_page(
    header: &PageHeader,
    at: u64,
    lists: bool,
    limit: u64,
) -> Result<(), String> {
    if !matches!(header.encoding, 0 | 2 | 8) {
        return Err(format!(
            "the page at byte {at} is encoded by {} ({}); write the file again with plain or \
             dictionary encoding",
            encoding_name(header.encoding),
            header.encoding
        ));
    }
    if header.uncompressed > limit {
        return Err(format!(
            "the page at byte {at} takes {} bytes when decompressed, the limit is {limit}; raise \
             `limits.page_bytes`, if so many are meant",
            header.uncompressed
        ));
    }
    let most = match header.dictionary || lists {
        true => MAX_VALUES_AT_ONCE,
        false => MAX_PAGE_VALUES,
    };
    if header.values > most {
        return Err(format!(
            "the page at byte {at} promises {} values, at most {most} are read; is the file damaged?",
            header.values
        ));
    }
    Ok(())
}

/// The header of the page at a place of the file; its column ends at `end`.
pub(crate) fn page_header(file: &File, at: u64, end: u64) -> Result<(PageHeader, usize), String> {
    let mut bytes = Vec::new();
    for longest in [1 << 10, 1 << 18] {
        let most = (end - at).min(longest);
        read_at(file, at, most, &mut bytes).map_err(|error| format!("cannot be read: {error}"))?;
        match PageHeader::parse(&bytes) {
            Ok(found) => return Ok(found),
            Err(Fault::Short) if bytes.len() as u64 == longest => {}
            Err(_) => break,
        }
    }
    Err(format!(
        "the header of the page at byte {at} is damaged; fetch or write the file again"
    ))
}
