//! A part of the fixtures that another folder of their layout need not have.

use std::path::{Path, PathBuf};

use visrl_testing::fixtures;

/// The part of that name: of the folder that `VISRL_FIXTURES` names, or of the one in the repository
/// where that has none.
pub(crate) fn part(name: &str) -> PathBuf {
    let given = fixtures().join(name);
    match given.exists() {
        true => given,
        false => Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/fixtures")
            .join(name),
    }
}
