use std::fmt;

use visrl_core::Example;

use crate::reward_rule::RewardRule;

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
