use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::reward_rule::RewardRule;

/// A rule from outside of this crate, shared.
///
/// A file holds its name alone: `{"type": "custom", "name": "brief"}`. One that is read from a file
/// is no more than a name until [`RewardSet::resolve`](crate::RewardSet::resolve) finds the rule;
/// two are equal if they have the same name.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomRule {
    name: String,
    #[serde(skip)]
    rule: Option<Arc<dyn RewardRule>>,
}

impl CustomRule {
    /// A rule under its own name.
    pub fn new(rule: impl RewardRule + 'static) -> Self {
        Self::named(rule.name().to_owned(), Arc::new(rule))
    }

    /// A rule under another name.
    pub fn named(name: impl Into<String>, rule: Arc<dyn RewardRule>) -> Self {
        let name = name.into();
        let rule = Some(rule);
        Self { name, rule }
    }

    /// The rule's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The rule; nothing for one that was read from a file and not resolved.
    pub fn rule(&self) -> Option<&dyn RewardRule> {
        self.rule.as_deref()
    }
}

impl fmt::Debug for CustomRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomRule({:?})", self.name)
    }
}

impl PartialEq for CustomRule {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
