//! What a policy under training tries, and what it must get for it.

mod accuracy;
mod formats;
mod properties;

use visrl_core::{Example, ImageSource};
use visrl_reward::Rule;

pub(crate) fn example(label: &str, choices: &[&str]) -> Example {
    Example {
        id: "adversarial".into(),
        image: ImageSource::path("none.png"),
        question: String::new(),
        choices: choices.iter().map(ToString::to_string).collect(),
        label: label.into(),
        row: Default::default(),
    }
}

/// A completion, its score and the reason for it.
pub(crate) type Case<'a> = (&'a str, Option<f32>, &'a str);

pub(crate) const YES: Option<f32> = Some(1.0);
pub(crate) const NO: Option<f32> = Some(0.0);

pub(crate) fn check(rule: impl Into<Rule>, example: &Example, cases: &[Case<'_>]) {
    let rule = rule.into();
    for (completion, want, why) in cases {
        let got = rule.score(completion, example);
        assert_eq!(got, *want, "{}: {completion:?}: {why}", rule.name());
    }
}

pub(crate) fn coat() -> Example {
    example("Coat", &["Bag", "Coat", "Raincoat"])
}
