use std::path::Path;

use visrl_core::warn_once;

/// Warns of what is done with a file or folder that its owner may not have meant; the same once a
/// process.
pub(crate) fn tell(path: &Path, message: &str) {
    warn_once(format!("{}: {message}", path.display()));
}
