//! The contents of one file, whole or not at all.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::http::StatusCode;
use visrl_core::files::FileError;

use super::client::{Client, FileInfo};
use crate::error::Error;

/// Connections in succession that may bring nothing.
const FRUITLESS: usize = 2;
/// Bytes that are moved at a time.
const CHUNK: usize = 1 << 20;

/// Downloads a file's contents to `blobs/ETAG` in a model's folder, going on with what is there of
/// them; nothing is done where they are there. One process at a time does it, by the lock that the
/// hub's own tools take, and the others wait.
pub(super) fn blob(
    client: &Client<'_>,
    folder: &Path,
    file: &str,
    info: &FileInfo,
) -> Result<PathBuf, Error> {
    let blob = folder.join("blobs").join(&info.etag);
    if blob.exists() {
        return Ok(blob);
    }
    let _lock = lock(folder, &info.etag)?;
    if blob.exists() {
        return Ok(blob);
    }
    let part = folder
        .join("blobs")
        .join(format!("{}.incomplete", info.etag));
    make_folder(&part)?;
    fill(client, file, info, &part)?;
    check(client, file, info, &part)?;
    fs::rename(&part, &blob).map_err(|source| Error::io(&blob, source))?;
    Ok(blob)
}

/// The lock of the hub's own tools for these contents; nothing where the file system has none.
fn lock(folder: &Path, etag: &str) -> Result<Option<File>, Error> {
    let cache = folder.parent().unwrap_or(folder);
    let model = folder.file_name().unwrap_or_default();
    let path = cache
        .join(".locks")
        .join(model)
        .join(format!("{etag}.lock"));
    make_folder(&path)?;
    let mut options = File::options();
    let options = options.write(true).create(true).truncate(false);
    let file = options
        .open(&path)
        .map_err(|source| Error::io(&path, source))?;
    Ok(file.lock().is_ok().then_some(file))
}

fn make_folder(path: &Path) -> Result<(), Error> {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(|source| Error::io(folder, source))
}

/// Appends to a part of a file until it is whole.
fn fill(client: &Client<'_>, name: &str, info: &FileInfo, part: &Path) -> Result<(), Error> {
    let failed = |source| Error::io(part, source);
    let mut options = File::options();
    let options = options.read(true).write(true).create(true).truncate(false);
    let mut file = options.open(part).map_err(failed)?;
    let mut have = file.metadata().map_err(failed)?.len();
    let bar = bar(client, name, info.size, have);
    let mut fruitless = 0;
    while info.size.is_none_or(|size| have < size) || have == 0 {
        let before = have;
        match more(client, name, info, &mut file, &mut have, &bar)? {
            Ended::Whole => break,
            Ended::Refused(error) => return Err(error),
            Ended::Cut(_) if have > before => fruitless = 0,
            Ended::Cut(why) => {
                fruitless += 1;
                if fruitless == FRUITLESS {
                    let of = info
                        .size
                        .map(|size| format!(" of {size}"))
                        .unwrap_or_default();
                    let message = format!(
                        "was downloaded to {have}{of} bytes, {why}; run again to go on from there"
                    );
                    return Err(client.fault(name, &message));
                }
            }
        }
    }
    bar.finish_and_clear();
    file.sync_all().map_err(failed)
}

/// How a connection ended.
enum Ended {
    /// All that the server has is there.
    Whole,
    /// The connection ended, or nothing came any more.
    Cut(String),
    /// The server does not give the file.
    Refused(Error),
}

/// Appends what one connection brings.
fn more(
    client: &Client<'_>,
    name: &str,
    info: &FileInfo,
    file: &mut File,
    have: &mut u64,
    bar: &ProgressBar,
) -> Result<Ended, Error> {
    let failed = |source| client.fault(name, &format!("cannot be written: {source}"));
    let response = match client.contents(name, *have) {
        Ok(response) => response,
        Err(error) => return Ok(Ended::Cut(cause(client, &error.into_io()))),
    };
    match response.status() {
        StatusCode::PARTIAL_CONTENT => {}
        // No parts, or none of this one: from the start.
        StatusCode::OK => *have = 0,
        StatusCode::RANGE_NOT_SATISFIABLE if *have > 0 => {
            *have = 0;
            file.set_len(0).map_err(failed)?;
            return Ok(Ended::Cut("the server has no such part".into()));
        }
        status if status.is_server_error() => return Ok(Ended::Cut(format!("then came {status}"))),
        status => {
            return Ok(Ended::Refused(client.refused(
                name,
                status,
                response.headers(),
            )));
        }
    }
    file.set_len(*have).map_err(failed)?;
    file.seek(SeekFrom::Start(*have)).map_err(failed)?;
    bar.set_position(*have);
    let mut reader = response.into_body().into_reader();
    let mut chunk = vec![0; CHUNK];
    loop {
        let read = match reader.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Ok(Ended::Cut(cause(client, &error))),
        };
        file.write_all(&chunk[..read]).map_err(failed)?;
        *have += read as u64;
        bar.set_position(*have);
    }
    Ok(match info.size {
        Some(size) if *have < size => Ended::Cut("then the connection ended".into()),
        _ => Ended::Whole,
    })
}

fn cause(client: &Client<'_>, error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(ureq::Error::Timeout(_)) => {
            let seconds = client.patience().as_secs();
            format!("then the server sent nothing for {seconds} s (HF_HUB_DOWNLOAD_TIMEOUT)")
        }
        _ => format!("then the connection broke ({error})"),
    }
}

/// Whether a file is what the hub says; one that is not is removed.
fn check(client: &Client<'_>, name: &str, info: &FileInfo, part: &Path) -> Result<(), Error> {
    let failed = |source| Error::io(part, source);
    let size = fs::metadata(part).map_err(failed)?.len();
    let mut wrong = info
        .size
        .filter(|wanted| *wanted != size)
        .map(|wanted| format!("has {size} bytes in place of {wanted}"));
    let is_sha256 = info.etag.len() == 64 && info.etag.bytes().all(|b| b.is_ascii_hexdigit());
    if is_sha256 && wrong.is_none() {
        let mut hash = Sha256::new();
        let mut file = File::open(part).map_err(failed)?;
        io::copy(&mut file, &mut hash).map_err(failed)?;
        let found: String = hash.finalize().iter().map(|b| format!("{b:02x}")).collect();
        if !found.eq_ignore_ascii_case(&info.etag) {
            wrong = Some("has another checksum than the hub says".into());
        }
    }
    let Some(message) = wrong else { return Ok(()) };
    fs::remove_file(part).map_err(|source| FileError::io(part, source))?;
    Err(client.fault(name, &format!("{message}, and was removed: run again")))
}

fn bar(client: &Client<'_>, name: &str, size: Option<u64>, have: u64) -> ProgressBar {
    if !client.shows_progress() {
        return ProgressBar::hidden();
    }
    let bar = match size {
        Some(size) => ProgressBar::new(size),
        None => ProgressBar::no_length(),
    };
    let style = "{msg} {bytes}/{total_bytes} {bar:20} {bytes_per_sec} {eta} left";
    let style = ProgressStyle::with_template(style);
    let bar = bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(name.to_owned());
    bar.set_position(have);
    bar.reset_eta();
    bar
}
