use std::any::Any;

use serde::{Deserialize, Serialize};
use visrl_core::Example;

use super::accuracy::{
    ExactCompletion, ReferenceTagAccuracy, SatAccuracy, StrictTagAccuracy, TrimmedCompletion,
};
use super::custom_rule::CustomRule;
use super::cv_bench::CvBenchScore;
use super::format::{AdaptiveFormat, AnswerReasonFormat, ThinkAnswerFormat};
use super::lenient_evaluation::LenientEvaluation;
use super::overlong_penalty::OverlongPenalty;
use super::repetition_penalty::RepetitionPenalty;
use super::think_answer_agreement::ThinkAnswerAgreement;
use crate::error::Error;
use crate::reward_rule::{Answered, RewardRule};

/// Every rule of a [`RewardSet`](crate::RewardSet), so that the rewards of a run are a
/// configuration file: `{"type": "strict_tag_accuracy", "matcher": "ignore_case"}`. Settings left
/// out take the defaults of the rule's struct; unknown ones are refused.
///
/// Any [`RewardRule`] becomes one by `into()`: a built-in rule as itself, every other as
/// [`Rule::Custom`].
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
    CvBench(CvBenchScore),
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
    /// A rule from outside of this crate, recorded by its name.
    Custom(CustomRule),
}

impl Rule {
    /// The rule as a trait object.
    ///
    /// # Errors
    /// [`Error::Unresolved`] for a custom rule that is only a name.
    pub fn as_rule(&self) -> Result<&dyn RewardRule, Error> {
        Ok(match self {
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
            Self::Custom(rule) => rule
                .rule()
                .ok_or_else(|| Error::Unresolved(rule.name().to_owned()))?,
        })
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

    /// The rule's name in files, metrics and reports.
    pub fn name(&self) -> &str {
        match self {
            Self::Custom(rule) => rule.name(),
            _ => self.as_rule().map_or("", RewardRule::name),
        }
    }

    /// The score of a completion; `None` if the rule cannot judge it, or is only a name.
    pub fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        self.as_rule().ok()?.score(completion, example)
    }

    /// The scores of a batch, in order; `None` where the rule could not judge the completion or
    /// gave no finite number.
    ///
    /// # Errors
    /// [`Error::Unresolved`] for a custom rule that is only a name; [`Error::Rule`] when the rule
    /// failed, or gave another number of scores.
    pub fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Option<f32>>, Error> {
        let failed = |source| Error::Rule {
            rule: self.name().to_owned(),
            source,
        };
        let mut scores = self.as_rule()?.score_batch(batch).map_err(failed)?;
        if scores.len() != batch.len() {
            let message = format!("{} scores for {} completions", scores.len(), batch.len());
            return Err(failed(message.into()));
        }
        for score in &mut scores {
            *score = score.filter(|score| score.is_finite());
        }
        Ok(scores)
    }

    /// The least and the greatest score that the rule gives.
    pub fn range(&self) -> (f32, f32) {
        self.as_rule().map_or((0.0, 1.0), RewardRule::range)
    }
}

macro_rules! from_any_rule {
    ($($variant:ident($rule:ident)),* $(,)?) => {
        impl<R: RewardRule + 'static> From<R> for Rule {
            fn from(rule: R) -> Self {
                let any: &dyn Any = &rule;
                $(
                    if let Some(rule) = any.downcast_ref::<$rule>() {
                        return Self::$variant(rule.clone());
                    }
                )*
                Self::Custom(CustomRule::new(rule))
            }
        }
    };
}

from_any_rule!(
    StrictTagAccuracy(StrictTagAccuracy),
    ReferenceTagAccuracy(ReferenceTagAccuracy),
    SatAccuracy(SatAccuracy),
    ExactCompletion(ExactCompletion),
    TrimmedCompletion(TrimmedCompletion),
    LenientEvaluation(LenientEvaluation),
    CvBench(CvBenchScore),
    ThinkAnswerFormat(ThinkAnswerFormat),
    AnswerReasonFormat(AnswerReasonFormat),
    AdaptiveFormat(AdaptiveFormat),
    OverlongPenalty(OverlongPenalty),
    RepetitionPenalty(RepetitionPenalty),
    ThinkAnswerAgreement(ThinkAnswerAgreement),
);

impl From<CustomRule> for Rule {
    fn from(rule: CustomRule) -> Self {
        Self::Custom(rule)
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
            CvBenchScore::default().into(),
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
            assert!(!matches!(rule, Rule::Custom(_)), "{}", rule.name());
            let (least, greatest) = rule.range();
            assert!(least < greatest);
        }
    }

    #[test]
    fn a_custom_rule_is_a_name_in_files() {
        let rule = Rule::from(crate::rule_fn("mine", |_, _| None));
        assert_eq!(rule.name(), "mine");
        assert_eq!(format!("{rule:?}"), r#"Custom(CustomRule("mine"))"#);
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(json, r#"{"type":"custom","name":"mine"}"#);
        let read: Rule = serde_json::from_str(&json).unwrap();
        assert_eq!(read, rule);
        assert!(rule.as_rule().is_ok());
        let error = read.score_batch(&[]).unwrap_err().to_string();
        assert!(error.contains("`mine`"), "{error}");
    }

    #[test]
    fn a_rule_that_fails_is_named() {
        struct Broken(usize);
        impl RewardRule for Broken {
            fn name(&self) -> &str {
                "broken"
            }
            fn score(&self, _: &str, _: &Example) -> Option<f32> {
                None
            }
            fn score_batch(
                &self,
                _: &[Answered<'_>],
            ) -> Result<Vec<Option<f32>>, crate::RuleFailure> {
                match self.0 {
                    0 => Err("no connection".into()),
                    count => Ok(vec![Some(f32::NAN); count]),
                }
            }
        }
        let example = crate::rules::test_example::example("x", &[]);
        let completion = "x";
        let batch = [Answered {
            completion,
            example: &example,
        }];
        let scores = |count| Rule::from(Broken(count)).score_batch(&batch);
        let error = scores(0).unwrap_err().to_string();
        assert_eq!(error, "rule `broken`: no connection");
        let error = scores(2).unwrap_err().to_string();
        assert_eq!(error, "rule `broken`: 2 scores for 1 completions");
        assert_eq!(scores(1).unwrap(), [None], "a score that is no number");
    }
}
