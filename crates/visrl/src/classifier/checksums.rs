//! What each answer of a file depends on and is, in checksums.

use std::fs::File;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use visrl_core::files::for_each_line;

use super::picture_answer::PictureAnswer;
use crate::error::Error;

/// The longest line of answers in bytes.
const MAX_LINE: u64 = 1 << 30;

/// An answer's checksums; a line of the file beside the answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Checksums {
    /// SHA-256 of the picture's bytes; nothing for one that could not be read.
    picture: Option<String>,
    /// SHA-256 of the answer's line.
    answer: String,
}

/// The file of checksums beside a file of answers.
pub(super) fn checksums_of(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".checksums.jsonl");
    path.with_file_name(name)
}

/// The checksums of pictures, read at once.
pub(super) fn of_pictures(pictures: &[PathBuf]) -> Vec<Option<String>> {
    pictures.par_iter().map(|path| of_picture(path)).collect()
}

impl Checksums {
    /// Those of an answer, by its picture's.
    pub(super) fn new(picture: Option<String>, answer: &PictureAnswer) -> serde_json::Result<Self> {
        let answer = of_bytes(&serde_json::to_vec(answer)?);
        Ok(Self { picture, answer })
    }
}

/// Checks the first lines of a file of answers, and the pictures that they are of.
///
/// # Errors
/// [`Error::File`] with the first line that is not as it was written, or whose picture is not as it
/// was when it was asked about.
pub(super) fn verify(
    path: &Path,
    pictures: &[PathBuf],
    known: &[Checksums],
    advice: &str,
) -> Result<(), Error> {
    if known.is_empty() {
        return Ok(());
    }
    for_each_line(path, MAX_LINE, |line, text| match known.get(line - 1) {
        Some(known) if known.answer != of_bytes(text) => {
            let message = format!("line {line}: is not as it was written: {advice}");
            Err(Error::file(path, message))
        }
        _ => Ok(()),
    })?;
    let found = of_pictures(&pictures[..known.len()]);
    let other = found
        .iter()
        .zip(known)
        .position(|(found, known)| *found != known.picture);
    match other {
        None => Ok(()),
        Some(place) => {
            let message = format!(
                "line {}: the picture {} changed since it was asked about: {advice}",
                place + 1,
                pictures[place].display()
            );
            Err(Error::file(path, message))
        }
    }
}

fn of_picture(path: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut File::open(path).ok()?, &mut hash).ok()?;
    Some(digits(hash))
}

fn of_bytes(bytes: &[u8]) -> String {
    digits(Sha256::new_with_prefix(bytes))
}

/// A checksum in hexadecimal digits.
pub(super) fn digits(hash: Sha256) -> String {
    hash.finalize().iter().map(|b| format!("{b:02x}")).collect()
}
