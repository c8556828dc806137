//! Where the golden numbers are.

use std::path::{Path, PathBuf};

/// The folder that `VISRL_FIXTURES` names, seen from the root of the repository, or else
/// `tests/fixtures` there.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()))
}
