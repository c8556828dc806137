use std::fmt;
use std::sync::Arc;

use visrl_core::Example;

/// Scores the text of a completion against the example it answers.
///
/// A rule is a pure function of the two: it sees neither tokens nor the other completions of the
/// group, and it is called from several threads at once.
pub trait RewardRule: Send + Sync {
    /// What to call the rule in metrics and reports.
    fn name(&self) -> &str;

    /// The score of `completion`, or `None` if the rule cannot judge it: a missing label, say, or
    /// a measure that does not apply. An unscored completion is not a wrong one.
    fn score(&self, completion: &str, example: &Example) -> Option<f32>;

    /// The least and the greatest score that the rule gives.
    fn range(&self) -> (f32, f32) {
        (0.0, 1.0)
    }
}

impl<R: RewardRule + ?Sized> RewardRule for Arc<R> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        (**self).score(completion, example)
    }

    fn range(&self) -> (f32, f32) {
        (**self).range()
    }
}

/// A rule made of a function; see [`rule_fn`].
#[derive(Clone)]
pub struct RuleFn<F> {
    name: String,
    score: F,
    range: (f32, f32),
}

/// A rule that calls `score` with the completion and the example. Its range is taken to be 0 to 1;
/// [`RuleFn::with_range`] says otherwise.
///
/// ```
/// use visrl_reward::{RewardRule, rule_fn};
///
/// let brief = rule_fn("brief", |completion, _| Some(f32::from(completion.len() < 20)));
/// assert_eq!(brief.name(), "brief");
/// ```
pub fn rule_fn<F>(name: impl Into<String>, score: F) -> RuleFn<F>
where
    F: Fn(&str, &Example) -> Option<f32> + Send + Sync,
{
    RuleFn {
        name: name.into(),
        score,
        range: (0.0, 1.0),
    }
}

impl<F> RuleFn<F> {
    /// The same rule with another declared range.
    pub fn with_range(mut self, least: f32, greatest: f32) -> Self {
        self.range = (least, greatest);
        self
    }
}

impl<F> fmt::Debug for RuleFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RuleFn")
            .field("name", &self.name)
            .field("range", &self.range)
            .finish()
    }
}

impl<F> RewardRule for RuleFn<F>
where
    F: Fn(&str, &Example) -> Option<f32> + Send + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        (self.score)(completion, example)
    }

    fn range(&self) -> (f32, f32) {
        self.range
    }
}

/// The score of a rule that says yes or no.
pub(crate) fn verdict(right: bool) -> Option<f32> {
    Some(if right { 1.0 } else { 0.0 })
}
