//! What the libraries warn of, as a value.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Runs a function and gives what it returned and the warnings of this thread meanwhile.
pub fn warnings_of<T>(run: impl FnOnce() -> T) -> (T, Vec<String>) {
    let told = Arc::default();
    let collect = Collect(Arc::clone(&told));
    let result = tracing::subscriber::with_default(collect, run);
    let told = told.lock().unwrap_or_else(PoisonError::into_inner).clone();
    (result, told)
}

struct Collect(Arc<Mutex<Vec<String>>>);

impl Subscriber for Collect {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= Level::WARN
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut message = Message::default();
        event.record(&mut message);
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.push(message.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_are_collected_and_the_rest_is_not() {
        let (result, told) = warnings_of(|| {
            tracing::debug!("small");
            tracing::warn!(step = 3, "large {}", 7);
            5
        });
        assert_eq!((result, told), (5, vec!["large 7".to_owned()]));
    }
}
