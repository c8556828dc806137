use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::matchers::{LastLetter, Matcher, MatcherKind};
use crate::reward_rule::{RewardRule, verdict};
use crate::tags::{only_answer, training_answer};
use crate::text::{equal_lower, strip, without_underscores};

/// 1 if the text of the completion's only `<answer>` is the label, else 0.
///
/// The strict form of the paper's accuracy reward, and the one to train with: the tag must be
/// there, once and outside of the thought (see [`only_answer`]), so that neither a bare label nor
/// a list of guesses is paid for. `None` if the example's label is blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StrictTagAccuracy {
    /// What compares the answer with the label; by default [`MatcherKind::IgnoreCase`], as in the
    /// paper's code.
    pub matcher: MatcherKind,
}

impl Default for StrictTagAccuracy {
    fn default() -> Self {
        Self {
            matcher: MatcherKind::IgnoreCase,
        }
    }
}

impl RewardRule for StrictTagAccuracy {
    fn name(&self) -> &str {
        "strict_tag_accuracy"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let label = strip(&example.label);
        if label.is_empty() {
            return None;
        }
        verdict(only_answer(completion).is_some_and(|answer| self.matcher.matches(answer, label)))
    }
}

/// The accuracy reward of the paper's training code, forgiving as it is: 1 if the first `<answer>`
/// that stands on one line, or without one the *whole completion*, is the label, whatever its case.
///
/// So a bare label scores 1, an answer over several lines is not seen, and of several answers the
/// first counts, even one within the thought. The label may itself stand in `<answer>` tags, as in
/// the reference's data files. The reference asks the symbolic `math_verify` first; that step is
/// left out here, since on class names it finds little but false positives (any label with the
/// same number in it).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ReferenceTagAccuracy {
    /// Whether blanks may stand for the label's underscores, as in the reference's code for
    /// open-set pets.
    pub underscore: bool,
}

impl RewardRule for ReferenceTagAccuracy {
    fn name(&self) -> &str {
        "reference_tag_accuracy"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let label = training_answer(&example.label);
        let answer = training_answer(completion);
        let spaced = || without_underscores(label).is_some_and(|label| equal_lower(answer, &label));
        verdict(equal_lower(answer, label) || (self.underscore && spaced()))
    }
}

/// The accuracy reward of the paper's SAT training code: as [`ReferenceTagAccuracy`], but
/// case-sensitive.
///
/// The reference goes on to compare the answer's last letter, by a function that it does not
/// define, so that the attempt always fails. `last_letter` switches on what was meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SatAccuracy {
    /// Whether [`LastLetter`] may make an answer right; by default not, as the reference runs.
    pub last_letter: bool,
}

impl RewardRule for SatAccuracy {
    fn name(&self) -> &str {
        "sat_accuracy"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let label = training_answer(&example.label);
        let answer = training_answer(completion);
        verdict(answer == label || (self.last_letter && LastLetter.matches(answer, label)))
    }
}

/// 1 if the whole completion equals the label to the letter, else 0: the reward of the paper's
/// No-Thinking-RL.
///
/// The completion is not stripped and case counts; only the label is stripped (and taken out of
/// `<answer>` tags, if it stands in some, as in the reference's data files).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExactCompletion {
    /// Whether blanks may stand for the label's underscores, as in the reference's code for
    /// open-set pets.
    pub underscore: bool,
}

impl RewardRule for ExactCompletion {
    fn name(&self) -> &str {
        "exact_completion"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let label = training_answer(&example.label);
        let spaced = || without_underscores(label).is_some_and(|label| completion == label);
        verdict(completion == label || (self.underscore && spaced()))
    }
}

/// 1 if the whole completion, stripped, satisfies a matcher, else 0; by default equality.
///
/// `None` if the example's label is blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrimmedCompletion {
    /// What compares the completion with the label; by default [`MatcherKind::Trimmed`].
    pub matcher: MatcherKind,
}

impl Default for TrimmedCompletion {
    fn default() -> Self {
        Self {
            matcher: MatcherKind::Trimmed,
        }
    }
}

impl RewardRule for TrimmedCompletion {
    fn name(&self) -> &str {
        "trimmed_completion"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let label = strip(&example.label);
        if label.is_empty() {
            return None;
        }
        verdict(self.matcher.matches(strip(completion), label))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::test_example::example;

    #[test]
    fn strict_and_reference_part_where_tags_are_missing() {
        let example = example("Coat", &[]);
        let strict = |text| StrictTagAccuracy::default().score(text, &example);
        let reference = |text| ReferenceTagAccuracy::default().score(text, &example);
        for (text, strict_score, reference_score) in [
            ("<answer>coat</answer>", 1.0, 1.0),
            ("coat", 0.0, 1.0),
            ("<answer>Coat</answer><answer>Bag</answer>", 0.0, 1.0),
            ("<answer>\nCoat\n</answer>", 1.0, 0.0),
            (
                "<think><answer>Coat</answer></think><answer>Bag</answer>",
                0.0,
                1.0,
            ),
        ] {
            assert_eq!(strict(text), Some(strict_score), "{text}");
            assert_eq!(reference(text), Some(reference_score), "{text}");
        }
    }

    #[test]
    fn a_blank_label_is_not_scored_by_strict_rules() {
        let example = example(" ", &[]);
        assert_eq!(
            StrictTagAccuracy::default().score("<answer></answer>", &example),
            None
        );
        assert_eq!(TrimmedCompletion::default().score("", &example), None);
        assert_eq!(ExactCompletion::default().score("", &example), Some(1.0));
    }

    #[test]
    fn sat_compares_the_last_letter_only_when_asked() {
        let example = example("B", &[]);
        let text = "<answer>it is (B)</answer>";
        assert_eq!(SatAccuracy::default().score(text, &example), Some(0.0));
        assert_eq!(
            SatAccuracy { last_letter: true }.score(text, &example),
            Some(1.0)
        );
        assert_eq!(SatAccuracy::default().score("b", &example), Some(0.0));
    }

    #[test]
    fn whole_completions() {
        let example = example("american_bulldog", &[]);
        let exact = |text, underscore| ExactCompletion { underscore }.score(text, &example);
        assert_eq!(exact("american_bulldog", false), Some(1.0));
        assert_eq!(exact("american_bulldog ", false), Some(0.0));
        assert_eq!(exact("american bulldog", false), Some(0.0));
        assert_eq!(exact("american bulldog", true), Some(1.0));
        let trimmed = TrimmedCompletion::default();
        assert_eq!(trimmed.score(" american_bulldog\n", &example), Some(1.0));
    }
}
