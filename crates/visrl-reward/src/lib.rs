//! Reward rules for rule-based reinforcement learning: a completion's text in, a score out.
//!
//! Reinforcement learning pays for whatever its reward counts. If a reward takes "coat" for right
//! wherever the letters occur, a policy learns to list every choice; if a missing tag is forgiven,
//! the tag goes missing. So this crate keeps three things apart and gives each a name:
//!
//! * a [`Matcher`] decides when an answer counts as the label, from
//!   [`Exact`](matchers::Exact) to the lenient [`Contains`](matchers::Contains) of the paper's
//!   evaluation;
//! * a [`RewardRule`] finds the answer in a completion and scores it, or its format, or its length.
//!   The rules of the paper "Think or Not Think" (arXiv 2503.16188) stand in [`rules`], each in the
//!   form its reference code has, and beside them the strict forms to train with;
//! * a [`RewardSet`] is a list of weighted rules. The built-in ones are values of the enum
//!   [`Rule`], so a run's rewards are a configuration file and a run's record says which matchers
//!   judged it. The paper's methods are constructors: [`RewardSet::no_thinking`],
//!   [`RewardSet::cls_rl`], [`RewardSet::think_after_answer`], [`RewardSet::adaptive`].
//!
//! Where a score of the reference depends on how Python treats Unicode, [`text`] does the same.
//! Tags are parsed by hand in linear time ([`tags`]), as completions are hostile input: a policy
//! under training writes anything.
//!
//! ```
//! use visrl_core::{Example, ImageSource};
//! use visrl_reward::{Answered, RewardRule, RewardSet};
//!
//! let example = Example {
//!     id: "train/7".into(),
//!     image: ImageSource::path("photo.png"),
//!     question: "What type of object is in the photo?".into(),
//!     choices: ["Bag", "Coat"].map(String::from).to_vec(),
//!     label: "Coat".into(),
//!     row: Default::default(),
//! };
//!
//! // A rule of one's own.
//! struct OneLine;
//! impl RewardRule for OneLine {
//!     fn name(&self) -> &str {
//!         "one_line"
//!     }
//!     fn score(&self, completion: &str, _: &Example) -> Option<f32> {
//!         Some(if completion.contains('\n') { 0.0 } else { 1.0 })
//!     }
//! }
//!
//! // A set from a file, and the rule added to it.
//! let json = r#"[
//!     {"rule": {"type": "strict_tag_accuracy", "matcher": {"underscore": "ignore_case"}}},
//!     {"rule": {"type": "think_answer_format", "tags": "once"}, "weight": 0.5},
//!     {"rule": {"type": "think_answer_agreement"}, "weight": 0.0}
//! ]"#;
//! let rewards: RewardSet = serde_json::from_str(json)?;
//! let rewards = rewards.with(OneLine, 0.25)?;
//!
//! let texts = ["<think>A coat.</think><answer>Coat</answer>", "Bag or Coat"];
//! let batch = texts.map(|completion| Answered { completion, example: &example });
//! let scored = rewards.score_batch(&batch)?;
//! assert_eq!(scored[0].scores, [Some(1.0), Some(1.0), Some(1.0), Some(1.0)]);
//! assert_eq!(scored[0].total, Some(1.75));
//! // Without tags there is no thought that could agree with an answer.
//! assert_eq!(scored[1].scores, [Some(0.0), Some(0.0), None, Some(1.0)]);
//! assert_eq!(scored[1].total, Some(0.25));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod error;
pub mod matchers;
mod reward_rule;
mod reward_set;
mod rule_fn;
pub mod rules;
mod scored;
pub mod tags;
pub mod text;

pub use error::Error;
pub use matchers::{Matcher, MatcherKind};
pub use reward_rule::{Answered, RewardRule, RuleFailure};
pub use reward_set::{RewardSet, WeightedRule};
pub use rule_fn::{RuleFn, rule_fn};
pub use rules::Rule;
pub use scored::Scored;

/// The README's example.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
