//! Warnings that are given once.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Warns, through `tracing`, of what a file or a setting says; the same text is given once a process,
/// however often the file is read.
pub fn warn_once(message: impl Into<String>) {
    let message = message.into();
    if is_new(&message) {
        tracing::warn!("{message}");
    }
}

fn is_new(message: &str) -> bool {
    static TOLD: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
    !told.contains(message) && told.insert(message.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_new_once() {
        assert!(is_new("first"));
        assert!(is_new("second"));
        assert!(!is_new("first"));
    }
}
