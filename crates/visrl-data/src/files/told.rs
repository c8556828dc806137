use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What was told already: a data set may be opened more than once.
static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// Warns of what is done with a file or folder that its owner may not have meant; the same once a
/// process.
pub(crate) fn tell(path: &Path, message: &str) {
    let text = format!("{}: {message}", path.display());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    if told.insert(text.clone()) {
        tracing::warn!("{text}");
    }
}
