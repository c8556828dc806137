/// Decides whether an answer counts as the label.
///
/// A matcher sees the answer only: finding the answer within a completion is the work of a rule or
/// of [`StrictTag`](super::StrictTag). Every matcher has a name of its own, so that a run records how strictly it was
/// judged.
pub trait Matcher: Send + Sync {
    /// What to call the matcher in configurations and reports.
    fn name(&self) -> &str;

    /// Whether `answer` counts as `label`.
    fn matches(&self, answer: &str, label: &str) -> bool;
}

impl<M: Matcher + ?Sized> Matcher for &M {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        (**self).matches(answer, label)
    }
}
