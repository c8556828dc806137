use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::error::Error;
use crate::reward_rule::{Answered, RewardRule};
use crate::rules::{
    AdaptiveFormat, AnswerReasonFormat, CustomRule, ExactCompletion, ReferenceTagAccuracy, Rule,
    SatAccuracy, StrictTagAccuracy, ThinkAnswerFormat,
};
use crate::scored::Scored;

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

    /// The set with one more rule: any [`RewardRule`], or a [`Rule`].
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

    /// CLS-RL on SAT, as the paper's program for it: accuracy that heeds case, and the format.
    pub fn sat() -> Self {
        Self::sum([
            SatAccuracy::default().into(),
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

    /// Gives the rules that are only names what `find` knows by these names; a rule that was given
    /// as itself stays.
    ///
    /// # Errors
    /// [`Error::UnknownRule`] for a name that is not found, with the `known` ones.
    pub fn resolve(
        &mut self,
        find: impl Fn(&str) -> Option<Arc<dyn RewardRule>>,
        known: impl Fn() -> Vec<String>,
    ) -> Result<(), Error> {
        for WeightedRule { rule, .. } in &mut self.rules {
            let Rule::Custom(custom) = rule else {
                continue;
            };
            if custom.rule().is_some() {
                continue;
            }
            let name = custom.name().to_owned();
            match find(&name) {
                Some(found) => *custom = CustomRule::named(name, found),
                None => {
                    let known = known();
                    return Err(Error::UnknownRule { name, known });
                }
            }
        }
        Ok(())
    }

    /// Scores one completion, each rule by [`Rule::score`].
    pub fn score(&self, completion: &str, example: &Example) -> Scored {
        let scores = self.rules.iter().map(|WeightedRule { rule, .. }| {
            let score = rule.score(completion, example);
            score.filter(|score| score.is_finite())
        });
        self.weigh(scores.collect())
    }

    /// Scores a batch, in order; each rule is asked once, for all of it.
    ///
    /// # Errors
    /// [`Error::Rule`] or [`Error::Unresolved`], with the name of the rule that could not score.
    pub fn score_batch(&self, batch: &[Answered<'_>]) -> Result<Vec<Scored>, Error> {
        let rules = self.rules.iter();
        let columns: Vec<_> = rules
            .map(|weighted| weighted.rule.score_batch(batch))
            .collect::<Result<_, _>>()?;
        let scored = (0..batch.len()).map(|row| {
            let scores = columns.iter().map(|column| column[row]).collect();
            self.weigh(scores)
        });
        Ok(scored.collect())
    }

    /// The weighted sum over the rules that could judge a completion.
    fn weigh(&self, scores: Vec<Option<f32>>) -> Scored {
        let mut total = None;
        for (WeightedRule { weight, .. }, score) in self.rules.iter().zip(&scores) {
            if let Some(score) = score
                && *weight != 0.0
            {
                total = Some(total.unwrap_or(0.0) + weight * score);
            }
        }
        Scored { scores, total }
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
    use crate::rule_fn::rule_fn;
    use crate::rules::test_example::example;
    use crate::rules::{OverlongPenalty, ThinkAnswerAgreement};

    #[test]
    fn totals_leave_out_what_could_not_be_scored() {
        let never = || Rule::from(rule_fn("never", |_, _| None));
        let nan = Rule::from(rule_fn("nan", |_, _| Some(f32::NAN)));
        let half = || Rule::from(rule_fn("half", |_, _| Some(0.5)));
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
        let texts = [long.as_str(), "coat", &long[1..], ""];
        let batch = texts.map(|completion| Answered {
            completion,
            example: &example,
        });
        let want = texts.map(|text| set.score(text, &example));
        assert_eq!(set.score_batch(&batch).unwrap(), want);
        assert_eq!(want[0].total, Some(1.5));
        assert!(set.score_batch(&[]).unwrap().is_empty());
    }

    #[test]
    fn names_in_a_file_are_resolved_or_refused() {
        let text = r#"[{"rule":{"type":"custom","name":"half"}}]"#;
        let mut set: RewardSet = serde_json::from_str(text).unwrap();
        let half: Arc<dyn RewardRule> = Arc::new(rule_fn("other", |_, _| Some(0.5)));
        let known = || vec!["half".to_owned(), "third".to_owned()];
        let error = set.resolve(|_| None, known).unwrap_err().to_string();
        let there = "no rule of this name is registered; there are: `half`, `third`";
        assert_eq!(error, format!("rule `half`: {there}"));
        let find = |name: &str| (name == "half").then(|| Arc::clone(&half));
        set.resolve(find, known).unwrap();
        assert_eq!(set.names().next(), Some("half"));
        let example = example("x", &[]);
        assert_eq!(set.score("x", &example).total, Some(0.5));
        set.resolve(|_| None, Vec::new).unwrap();
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
