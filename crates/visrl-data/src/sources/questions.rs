use std::collections::HashMap;
use std::sync::Arc;

/// The paper's question about seven of CoOp's sets, and about one's own images if no other is
/// given.
pub(crate) const OBJECT_QUESTION: &str = "What type of object is in the photo?";

/// Holds each question once, however many rows ask it.
#[derive(Default)]
pub(crate) struct Questions(HashMap<Box<str>, Arc<str>>);

impl Questions {
    /// Beyond so many, a question is held as often as it occurs: it is most likely unique.
    const MOST: usize = 1 << 14;

    pub(crate) fn share(&mut self, question: &str) -> Arc<str> {
        if let Some(shared) = self.0.get(question) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = Arc::from(question);
        if self.0.len() < Self::MOST {
            self.0.insert(question.into(), Arc::clone(&shared));
        }
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_questions_are_held_once() {
        let mut questions = Questions::default();
        let first = questions.share("Which?");
        assert!(Arc::ptr_eq(&first, &questions.share("Which?")));
        assert!(!Arc::ptr_eq(&first, &questions.share("What?")));
    }
}
