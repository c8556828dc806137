use crate::reward_rule::RuleFailure;

/// What is wrong with a reward configuration, or kept a rule from scoring.
///
/// The built-in rules never fail: a completion that one cannot judge scores `None`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A set without rules gives no reward.
    #[error("reward set: `rules` is empty; add at least one rule")]
    NoRules,
    /// A weight that no total can be made of.
    #[error("reward set: rule {index} (`{rule}`): `weight` is {weight}; give a finite number")]
    Weight {
        /// The rule's place in the set, from 0.
        index: usize,
        /// The rule's name.
        rule: String,
        /// The weight that was given.
        weight: f32,
    },
    /// A setting outside of its domain.
    #[error("rule `{rule}`: `{field}` is {value}; {hint}")]
    Setting {
        /// The rule's or matcher's name.
        rule: &'static str,
        /// The field's name in the configuration.
        field: &'static str,
        /// The value that was given.
        value: String,
        /// What to give instead.
        hint: &'static str,
    },
    /// A rule of one's own that a file names, and nobody gave.
    #[error(
        "rule `{name}`: no rule of this name is registered; there are: {}",
        list(known)
    )]
    UnknownRule {
        /// The name in the file.
        name: String,
        /// The registered names.
        known: Vec<String>,
    },
    /// A rule of one's own that was read from a file, and not resolved before it was asked.
    #[error("rule `{0}` is only a name: resolve the reward set before scoring with it")]
    Unresolved(String),
    /// A rule could not score.
    #[error("rule `{rule}`: {source}")]
    Rule {
        /// The rule's name.
        rule: String,
        /// What it says.
        source: RuleFailure,
    },
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".to_owned(),
        names => format!("`{}`", names.join("`, `")),
    }
}
