use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::Error;
use crate::rule::RewardRule;
use crate::rules::{
    AdaptiveFormat, AnswerReasonFormat, ExactCompletion, ReferenceTagAccuracy, Rule,
    StrictTagAccuracy, ThinkAnswerFormat,
};

/// From this much work on (bytes of text times rules) a group is scored in parallel; below it,
/// handing out the work takes longer than doing it.
const PARALLEL_BYTES: usize = 1 << 18;

/// A rule and its share of the reward.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WeightedRule {
    /// The rule.
    pub rule: Rule,
    /// What its score is multiplied by; 1 if left out. With 0 the rule only measures.
    #[serde(default = "one")]
    pub weight: f32,
}

fn one() -> f32 {
    1.0
}

impl WeightedRule {
    /// A rule with its weight.
    pub fn new(rule: impl Into<Rule>, weight: f32) -> Self {
        Self {
            rule: rule.into(),
            weight,
        }
    }
}

/// What a [`RewardSet`] makes of one completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Each rule's own score, unweighted, in the order of the set; `None` where a rule could not
    /// judge the completion or gave no finite number.
    pub scores: Vec<Option<f32>>,
    /// The weighted sum over the rules that could judge it; `None` if no rule of a weight other
    /// than 0 could.
    pub total: Option<f32>,
}

/// The rewards of a run: rules and their weights.
///
/// In a file it is a list: `[{"rule": {"type": "exact_completion"}, "weight": 1.0}]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<WeightedRule>", into = "Vec<WeightedRule>")]
pub struct RewardSet {
    rules: Vec<WeightedRule>,
}

impl RewardSet {
    /// A set of these rules.
    ///
    /// # Errors
    /// If there is none, a weight is not finite or a rule's setting is outside of its domain.
    pub fn new(rules: impl Into<Vec<WeightedRule>>) -> Result<Self, Error> {
        let rules = rules.into();
        if rules.is_empty() {
            return Err(Error::NoRules);
        }
        for (index, WeightedRule { rule, weight }) in rules.iter().enumerate() {
            if !weight.is_finite() {
                let rule = rule.name().to_owned();
                return Err(Error::Weight {
                    index,
                    rule,
                    weight: *weight,
                });
            }
            rule.validate()?;
        }
        Ok(Self { rules })
    }

    /// The set with one more rule.
    ///
    /// # Errors
    /// As for [`RewardSet::new`].
    pub fn with(mut self, rule: impl Into<Rule>, weight: f32) -> Result<Self, Error> {
        self.rules.push(WeightedRule::new(rule, weight));
        Self::new(self.rules)
    }

    /// No-Thinking-RL: the whole completion equals the label, and nothing else counts.
    pub fn no_thinking() -> Self {
        Self::sum([ExactCompletion::default().into()])
    }

    /// CLS-RL: accuracy plus the format of a thought and an answer.
    ///
    /// Accuracy is the strict form; [`RewardSet::cls_rl_reference`] takes the reference's.
    pub fn cls_rl() -> Self {
        Self::sum([
            StrictTagAccuracy::default().into(),
            ThinkAnswerFormat::default().into(),
        ])
    }

    /// CLS-RL with the forgiving accuracy of the paper's code (without its `math_verify` step),
    /// which pays for a bare label too.
    pub fn cls_rl_reference() -> Self {
        Self::sum([
            ReferenceTagAccuracy::default().into(),
            ThinkAnswerFormat::default().into(),
        ])
    }

    /// Think-After-Answer: strict accuracy plus the format of an answer and a reason.
    pub fn think_after_answer() -> Self {
        Self::sum([
            StrictTagAccuracy::default().into(),
            AnswerReasonFormat::default().into(),
        ])
    }

    /// Adaptive-Thinking: strict accuracy plus either legal format.
    pub fn adaptive() -> Self {
        Self::sum([
            StrictTagAccuracy::default().into(),
            AdaptiveFormat::default().into(),
        ])
    }

    fn sum<const N: usize>(rules: [Rule; N]) -> Self {
        Self {
            rules: rules.map(|rule| WeightedRule::new(rule, 1.0)).into(),
        }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[WeightedRule] {
        &self.rules
    }

    /// The rules' names in order, as columns for [`Scored::scores`].
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|weighted| weighted.rule.name())
    }

    /// The least and the greatest total, if every rule stays in its range.
    pub fn range(&self) -> (f32, f32) {
        self.rules
            .iter()
            .filter(|weighted| weighted.weight != 0.0)
            .fold(
                (0.0, 0.0),
                |(least, greatest), WeightedRule { rule, weight }| {
                    let (a, b) = rule.range();
                    let (a, b) = (a * weight, b * weight);
                    // A rule that cannot judge a completion adds nothing.
                    (least + a.min(b).min(0.0), greatest + a.max(b).max(0.0))
                },
            )
    }

    /// Scores one completion.
    pub fn score(&self, completion: &str, example: &Example) -> Scored {
        let mut total = None;
        let mut scores = Vec::with_capacity(self.rules.len());
        for WeightedRule { rule, weight } in &self.rules {
            let score = rule
                .score(completion, example)
                .filter(|score| score.is_finite());
            if let Some(score) = score
                && *weight != 0.0
            {
                total = Some(total.unwrap_or(0.0) + weight * score);
            }
            scores.push(score);
        }
        Scored { scores, total }
    }

    /// Scores the completions of a group, in order; in parallel when they are long enough to pay
    /// for it. The result does not depend on that.
    pub fn score_group(&self, completions: &[&str], example: &Example) -> Vec<Scored> {
        let bytes: usize = completions.iter().map(|text| text.len()).sum();
        let parallel =
            completions.len() > 1 && bytes.saturating_mul(self.rules.len()) >= PARALLEL_BYTES;
        if parallel {
            completions
                .par_iter()
                .map(|text| self.score(text, example))
                .collect()
        } else {
            completions
                .iter()
                .map(|text| self.score(text, example))
                .collect()
        }
    }
}

impl TryFrom<Vec<WeightedRule>> for RewardSet {
    type Error = Error;

    fn try_from(rules: Vec<WeightedRule>) -> Result<Self, Error> {
        Self::new(rules)
    }
}

impl From<RewardSet> for Vec<WeightedRule> {
    fn from(set: RewardSet) -> Self {
        set.rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rule_fn;
    use crate::rules::{OverlongPenalty, ThinkAnswerAgreement, example};

    #[test]
    fn totals_leave_out_what_could_not_be_scored() {
        let never = || Rule::custom(rule_fn("never", |_, _| None));
        let nan = Rule::custom(rule_fn("nan", |_, _| Some(f32::NAN)));
        let half = || Rule::custom(rule_fn("half", |_, _| Some(0.5)));
        let example = example("x", &[]);
        let score = |rules: Vec<WeightedRule>| RewardSet::new(rules).unwrap().score("x", &example);
        let scored = score(vec![
            WeightedRule::new(never(), 1.0),
            WeightedRule::new(nan, 1.0),
            WeightedRule::new(half(), 3.0),
        ]);
        assert_eq!(
            scored,
            Scored {
                scores: vec![None, None, Some(0.5)],
                total: Some(1.5)
            }
        );
        let scored = score(vec![
            WeightedRule::new(never(), 1.0),
            WeightedRule::new(half(), 0.0),
        ]);
        assert_eq!(
            scored,
            Scored {
                scores: vec![None, Some(0.5)],
                total: None
            }
        );
    }

    #[test]
    fn methods_of_the_paper() {
        let example = example("coat", &["bag", "coat"]);
        let texts = [
            "coat",
            "<answer>coat</answer>",
            "<think>a</think><answer>coat</answer>",
            "<answer>coat</answer><reason>a</reason>",
            "<think>a</think><answer>bag</answer>",
        ];
        let totals = |set: RewardSet| texts.map(|text| set.score(text, &example).total.unwrap());
        assert_eq!(totals(RewardSet::no_thinking()), [1.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(totals(RewardSet::cls_rl()), [0.0, 1.0, 2.0, 1.0, 1.0]);
        assert_eq!(
            totals(RewardSet::cls_rl_reference()),
            [1.0, 1.0, 2.0, 1.0, 1.0]
        );
        assert_eq!(
            totals(RewardSet::think_after_answer()),
            [0.0, 1.0, 1.0, 2.0, 0.0]
        );
        assert_eq!(totals(RewardSet::adaptive()), [0.0, 2.0, 2.0, 1.0, 1.0]);
    }

    #[test]
    fn parallel_scores_are_the_same() {
        let set = RewardSet::cls_rl()
            .with(OverlongPenalty::default(), 0.5)
            .unwrap();
        let example = example("coat", &[]);
        let long = format!(
            "<think>{}</think><answer>coat</answer>",
            "a ".repeat(100_000)
        );
        let group = [long.as_str(), "coat", &long[1..], ""];
        let want: Vec<Scored> = group.iter().map(|text| set.score(text, &example)).collect();
        assert_eq!(set.score_group(&group, &example), want);
        assert_eq!(want[0].total, Some(1.5));
        assert!(set.score_group(&[], &example).is_empty());
    }

    #[test]
    fn bad_sets_are_refused_by_name() {
        let error = serde_json::from_str::<RewardSet>("[]")
            .unwrap_err()
            .to_string();
        assert!(error.contains("add at least one rule"), "{error}");
        let weight = RewardSet::no_thinking()
            .with(ThinkAnswerAgreement {}, f32::NAN)
            .unwrap_err();
        assert!(matches!(weight, Error::Weight { index: 1, .. }), "{weight}");
        let text = r#"[{"rule":{"type":"overlong_penalty","max_length":1,"buffer":2}}]"#;
        let error = serde_json::from_str::<RewardSet>(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("`buffer` is 2"), "{error}");
    }

    #[test]
    fn the_range_bounds_the_total() {
        let set = RewardSet::cls_rl()
            .with(OverlongPenalty::default(), 0.5)
            .unwrap();
        assert_eq!(set.range(), (-0.5, 2.0));
        assert_eq!(set.names().last(), Some("overlong_penalty"));
        assert_eq!(set.rules().len(), 3);
    }
}
