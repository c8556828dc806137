/// What is wrong with a reward configuration.
///
/// Scoring itself never fails: a completion that a rule cannot judge scores `None`.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
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
}
