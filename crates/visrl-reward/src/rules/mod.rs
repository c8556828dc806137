//! The built-in rules and the enum that names them all.

mod accuracy;
mod agreement;
mod cv_bench;
mod cv_latex;
mod cv_number;
mod cv_search;
mod cv_words;
mod format;
mod length;
mod lenient;
mod repetition;

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::Error;
use crate::rule::RewardRule;

pub use accuracy::{
    ExactCompletion, ReferenceTagAccuracy, SatAccuracy, StrictTagAccuracy, TrimmedCompletion,
};
pub use agreement::ThinkAnswerAgreement;
pub use cv_bench::{CvBench, CvBenchOption};
pub use format::{AdaptiveFormat, AnswerReasonFormat, TagUse, ThinkAnswerFormat};
pub use length::{LengthUnit, OverlongPenalty};
pub use lenient::LenientEvaluation;
pub use repetition::RepetitionPenalty;

/// Every rule of a [`RewardSet`](crate::RewardSet), so that the rewards of a run are a
/// configuration file: `{"type": "strict_tag_accuracy", "matcher": "ignore_case"}`. Settings left
/// out take the defaults of the rule's struct; unknown ones are refused.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rule {
    /// The only answer tag holds the label.
    StrictTagAccuracy(StrictTagAccuracy),
    /// The first answer tag or the whole completion is the label.
    ReferenceTagAccuracy(ReferenceTagAccuracy),
    /// The same for SAT, case-sensitive.
    SatAccuracy(SatAccuracy),
    /// The completion is the label to the letter.
    ExactCompletion(ExactCompletion),
    /// The stripped completion is the label.
    TrimmedCompletion(TrimmedCompletion),
    /// The answer contains the label, as the paper's evaluation counts.
    LenientEvaluation(LenientEvaluation),
    /// The completion names the right option of a CV-Bench question.
    CvBench(CvBench),
    /// A thought, then an answer.
    ThinkAnswerFormat(ThinkAnswerFormat),
    /// An answer, then a reason.
    AnswerReasonFormat(AnswerReasonFormat),
    /// An answer, after a thought or not.
    AdaptiveFormat(AdaptiveFormat),
    /// Overlong completions cost.
    OverlongPenalty(OverlongPenalty),
    /// Repeated n-grams cost.
    RepetitionPenalty(RepetitionPenalty),
    /// The thought ends up at the answer given.
    ThinkAnswerAgreement(ThinkAnswerAgreement),
    /// A rule from outside of this crate; it cannot be written to a configuration file.
    #[serde(skip)]
    Custom(CustomRule),
}

impl Rule {
    /// Wraps a rule of the user's own.
    pub fn custom(rule: impl RewardRule + 'static) -> Self {
        Self::Custom(CustomRule(Arc::new(rule)))
    }

    /// The rule as a trait object.
    pub fn as_rule(&self) -> &dyn RewardRule {
        match self {
            Self::StrictTagAccuracy(rule) => rule,
            Self::ReferenceTagAccuracy(rule) => rule,
            Self::SatAccuracy(rule) => rule,
            Self::ExactCompletion(rule) => rule,
            Self::TrimmedCompletion(rule) => rule,
            Self::LenientEvaluation(rule) => rule,
            Self::CvBench(rule) => rule,
            Self::ThinkAnswerFormat(rule) => rule,
            Self::AnswerReasonFormat(rule) => rule,
            Self::AdaptiveFormat(rule) => rule,
            Self::OverlongPenalty(rule) => rule,
            Self::RepetitionPenalty(rule) => rule,
            Self::ThinkAnswerAgreement(rule) => rule,
            Self::Custom(rule) => rule.0.as_ref(),
        }
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Setting`] names the field that is outside of its domain.
    pub fn validate(&self) -> Result<(), Error> {
        match self {
            Self::StrictTagAccuracy(rule) => rule.matcher.validate(),
            Self::TrimmedCompletion(rule) => rule.matcher.validate(),
            Self::OverlongPenalty(rule) => rule.validate(),
            Self::RepetitionPenalty(rule) => rule.validate(),
            _ => Ok(()),
        }
    }
}

impl RewardRule for Rule {
    fn name(&self) -> &str {
        self.as_rule().name()
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        self.as_rule().score(completion, example)
    }

    fn range(&self) -> (f32, f32) {
        self.as_rule().range()
    }
}

/// A shared rule from outside of this crate. Two are equal if they are the same object.
#[derive(Clone)]
pub struct CustomRule(
    /// The rule.
    pub Arc<dyn RewardRule>,
);

impl fmt::Debug for CustomRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomRule({:?})", self.0.name())
    }
}

impl PartialEq for CustomRule {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl From<Arc<dyn RewardRule>> for Rule {
    fn from(rule: Arc<dyn RewardRule>) -> Self {
        Self::Custom(CustomRule(rule))
    }
}

macro_rules! into_rule {
    ($($name:ident),*) => {$(
        impl From<$name> for Rule {
            fn from(rule: $name) -> Self {
                Self::$name(rule)
            }
        }
    )*};
}

into_rule!(
    StrictTagAccuracy,
    ReferenceTagAccuracy,
    SatAccuracy,
    ExactCompletion,
    TrimmedCompletion,
    LenientEvaluation,
    CvBench,
    ThinkAnswerFormat,
    AnswerReasonFormat,
    AdaptiveFormat,
    OverlongPenalty,
    RepetitionPenalty,
    ThinkAnswerAgreement
);

/// An example for unit tests.
#[cfg(test)]
pub(crate) fn example(label: &str, choices: &[&str]) -> Example {
    Example {
        id: "test/0".into(),
        image: visrl_core::ImageSource::path("test.png"),
        question: "What is in the photo?".into(),
        choices: choices.iter().map(ToString::to_string).collect(),
        label: label.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_called_in_files_as_in_reports() {
        let rules: [Rule; 13] = [
            StrictTagAccuracy::default().into(),
            ReferenceTagAccuracy::default().into(),
            SatAccuracy::default().into(),
            ExactCompletion::default().into(),
            TrimmedCompletion::default().into(),
            LenientEvaluation::default().into(),
            CvBench::default().into(),
            ThinkAnswerFormat::default().into(),
            AnswerReasonFormat::default().into(),
            AdaptiveFormat::default().into(),
            OverlongPenalty::default().into(),
            RepetitionPenalty::default().into(),
            ThinkAnswerAgreement::default().into(),
        ];
        for rule in rules {
            let json = serde_json::to_value(&rule).unwrap();
            assert_eq!(json["type"], rule.name());
            assert_eq!(serde_json::from_value::<Rule>(json).unwrap(), rule);
            let bare = format!(r#"{{"type":"{}"}}"#, rule.name());
            assert_eq!(
                serde_json::from_str::<Rule>(&bare).unwrap(),
                rule,
                "defaults"
            );
            let extra = format!(r#"{{"type":"{}","colour":1}}"#, rule.name());
            assert!(serde_json::from_str::<Rule>(&extra).is_err(), "{extra}");
            assert!(rule.validate().is_ok());
            let (least, greatest) = rule.range();
            assert!(least < greatest);
        }
    }

    #[test]
    fn a_custom_rule_stays_out_of_files() {
        let rule = Rule::custom(crate::rule_fn("mine", |_, _| None));
        assert_eq!(rule.name(), "mine");
        assert_eq!(rule.clone(), rule);
        assert_eq!(format!("{rule:?}"), r#"Custom(CustomRule("mine"))"#);
        assert!(serde_json::to_string(&rule).is_err());
    }
}
