//! Damages files for the tests, and says which errors they may give.
#![allow(dead_code)]

use std::path::Path;

use visrl_core::SeedStream;
use visrl_core::files::FileError;
use visrl_data::Error;

/// Writes a new file: to cut an old one off would wait for the disk.
pub(crate) fn replace(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

/// The errors that a damaged file may give; each names the file.
pub(crate) fn check_error(error: &Error, file: &Path) {
    let message = error.to_string();
    assert!(message.starts_with(file.to_str().unwrap()), "{message}");
    assert!(
        matches!(
            error,
            Error::Parquet { .. }
                | Error::TooLarge { .. }
                | Error::Row { .. }
                | Error::ImagePath { .. }
                | Error::UnknownLabel { .. }
                | Error::File(FileError::Json { .. } | FileError::Field { .. })
        ),
        "{error:?}"
    );
}

/// Damages of a file: cut at every place, every byte changed in some way, and a few at once.
pub(crate) fn damaged(whole: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut rng = SeedStream::new(seed, visrl_core::Domain::Data).rng();
    let mut all: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    for place in 0..whole.len() {
        for change in [1 << rng.below(8), rng.below(255) as u8 + 1] {
            let mut bytes = whole.to_vec();
            bytes[place] ^= change;
            all.push(bytes);
        }
    }
    for _ in 0..300 {
        let mut bytes = whole.to_vec();
        for _ in 0..2 + rng.below(6) {
            let place = rng.below(bytes.len());
            bytes[place] = rng.below(256) as u8;
        }
        all.push(bytes);
    }
    all
}
