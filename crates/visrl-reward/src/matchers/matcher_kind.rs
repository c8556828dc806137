use serde::{Deserialize, Serialize};

use crate::error::Error;

use super::exact::{Exact, IgnoreCase, Trimmed};
use super::lenient::Contains;
use super::matcher::Matcher;
use super::numeric::Numeric;
use super::option_letter::{LastLetter, OptionLetter};
use super::strict_tag::StrictTag;
use super::underscore::Underscore;

/// Every built-in matcher as a value of a configuration file: `"ignore_case"`,
/// `{"underscore": "ignore_case"}`, `{"numeric": {"absolute": 0.01}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MatcherKind {
    /// [`Exact`].
    Exact,
    /// [`Trimmed`].
    Trimmed,
    /// [`IgnoreCase`].
    IgnoreCase,
    /// [`Contains`].
    Contains,
    /// [`OptionLetter`].
    OptionLetter,
    /// [`LastLetter`].
    LastLetter,
    /// [`Numeric`].
    Numeric(Numeric),
    /// [`Underscore`] around another matcher.
    Underscore(Box<MatcherKind>),
    /// [`StrictTag`] around another matcher.
    StrictTag(Box<MatcherKind>),
    /// Any of several matchers.
    AnyOf(Vec<MatcherKind>),
}

impl MatcherKind {
    /// [`MatcherKind::Underscore`] around `inner`.
    pub fn underscore(inner: Self) -> Self {
        Self::Underscore(Box::new(inner))
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        match self {
            Self::Numeric(numeric) => numeric.validate(),
            Self::Underscore(inner) | Self::StrictTag(inner) => inner.validate(),
            Self::AnyOf(inner) if inner.is_empty() => Err(Error::Setting {
                rule: "any_of",
                field: "any_of",
                value: "[]".into(),
                hint: "give at least one matcher",
            }),
            Self::AnyOf(inner) => inner.iter().try_for_each(Self::validate),
            _ => Ok(()),
        }
    }
}

impl Matcher for MatcherKind {
    fn name(&self) -> &str {
        match self {
            Self::Exact => Exact.name(),
            Self::Trimmed => Trimmed.name(),
            Self::IgnoreCase => IgnoreCase.name(),
            Self::Contains => Contains.name(),
            Self::OptionLetter => OptionLetter.name(),
            Self::LastLetter => LastLetter.name(),
            Self::Numeric(numeric) => numeric.name(),
            Self::Underscore(_) => "underscore",
            Self::StrictTag(_) => "strict_tag",
            Self::AnyOf(_) => "any_of",
        }
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        match self {
            Self::Exact => Exact.matches(answer, label),
            Self::Trimmed => Trimmed.matches(answer, label),
            Self::IgnoreCase => IgnoreCase.matches(answer, label),
            Self::Contains => Contains.matches(answer, label),
            Self::OptionLetter => OptionLetter.matches(answer, label),
            Self::LastLetter => LastLetter.matches(answer, label),
            Self::Numeric(numeric) => numeric.matches(answer, label),
            Self::Underscore(inner) => Underscore(inner.as_ref()).matches(answer, label),
            Self::StrictTag(inner) => StrictTag(inner.as_ref()).matches(answer, label),
            Self::AnyOf(inner) => inner.iter().any(|matcher| matcher.matches(answer, label)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_values_of_a_file() {
        let text = r#"{"strict_tag":{"any_of":[{"underscore":"ignore_case"},{"numeric":{}}]}}"#;
        let kind: MatcherKind = serde_json::from_str(text).unwrap();
        assert!(kind.validate().is_ok());
        assert!(kind.matches("<answer>a B</answer>", "a_b"));
        assert!(kind.matches("<answer>1/2</answer>", "0.5"));
        assert!(!kind.matches("1/2", "0.5"));
        let back: MatcherKind =
            serde_json::from_str(&serde_json::to_string(&kind).unwrap()).unwrap();
        assert_eq!(back, kind);
        assert!(serde_json::from_str::<MatcherKind>(r#""lenient""#).is_err());
        assert!(serde_json::from_str::<MatcherKind>(r#"{"numeric":{"digits":3}}"#).is_err());
    }

    #[test]
    fn validation_looks_inside() {
        let bad = MatcherKind::Numeric(Numeric {
            absolute: f64::NAN,
            relative: 0.0,
        });
        assert!(MatcherKind::underscore(bad).validate().is_err());
        assert!(MatcherKind::AnyOf(Vec::new()).validate().is_err());
    }
}
