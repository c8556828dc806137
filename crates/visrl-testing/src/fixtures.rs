//! Where the golden numbers are.

use std::path::{Path, PathBuf};

/// The repository's own part of the fixtures.
const VENDORED: &str = "tests/fixtures";

/// The folder that `VISRL_FIXTURES` names, seen from the root of the repository, or else
/// `tests/fixtures` there.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| VENDORED.into()))
}

/// A part of the fixtures that another folder of their layout need not have: that of
/// [`fixtures`], or the repository's own where it has none.
pub fn part(name: &str) -> PathBuf {
    let given = fixtures().join(name);
    match given.exists() {
        true => given,
        false => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(VENDORED)
            .join(name),
    }
}
