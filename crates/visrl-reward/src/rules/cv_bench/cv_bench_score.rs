use serde::{Deserialize, Serialize};
use visrl_core::Example;

use crate::reward_rule::{RewardRule, verdict};
use crate::tags::cv_bench_answer;
use crate::text::strip;

use super::cv_bench_option::{CvBenchOption, Found};
use super::latex::{boxed, dollars};
use super::option_search::{Keys, Text};

/// 1 if the option that the completion names, by letter or by text, is the right one: how the
/// paper's evaluation scores CV-Bench.
///
/// The example's label is the letter in brackets, `(A)` to `(F)`, and its choices are in that
/// order; otherwise the score is `None`. The answer ([`cv_bench_answer`]) is searched for an option
/// ([`CvBenchScore::parse`]), which must equal the letter, the bracketed letter or the choice, as
/// written or in lower case.
///
/// The reference searches with `math_verify`. Its search for option strings and for numbers is
/// followed here, and of LaTeX `\boxed{…}` and `$…$` around plain text; expressions (`1+2`),
/// numbers beside an equals sign and other LaTeX are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CvBenchScore {}

impl CvBenchScore {
    /// The option, or the number, that an answer names, as written there.
    ///
    /// What follows "final answer is" goes first, then what is boxed, what follows "answer:" and
    /// "answer", what the text begins with, and at last the rightmost option or number that stands
    /// alone between blanks or punctuation.
    pub fn parse<'a>(answer: &'a str, choices: &'a [String]) -> Option<CvBenchOption<'a>> {
        let keys = Keys::new(choices);
        let text = Text::new(answer, &keys);
        let after = |colon| {
            rightmost([
                text.dollars_after_answer(colon),
                text.number_after_answer(colon),
                text.key_after_answer(colon),
            ])
        };
        let alone = || rightmost([dollars(answer), text.last_number(), text.last_key()]);
        let found = rightmost([text.final_number_in_hope(), text.final_key_in_hope()])
            .or_else(|| rightmost([boxed(answer), text.final_number(), text.final_key()]))
            .or_else(|| after(true))
            .or_else(|| after(false))
            .or_else(|| text.at_start())
            .or_else(alone)?;
        Some(found.option)
    }
}

/// The match that ends last; of two that end together, the one that starts first.
fn rightmost<'a>(found: impl IntoIterator<Item = Option<Found<'a>>>) -> Option<Found<'a>> {
    found.into_iter().flatten().reduce(|best, next| {
        let better = (next.end, best.start) > (best.end, next.start);
        if better { next } else { best }
    })
}

impl RewardRule for CvBenchScore {
    fn name(&self) -> &str {
        "cv_bench"
    }

    fn score(&self, completion: &str, example: &Example) -> Option<f32> {
        let letter = example.label.strip_prefix('(')?.strip_suffix(')')?;
        let index = ["A", "B", "C", "D", "E", "F"]
            .iter()
            .position(|name| *name == letter)?;
        let choice = example.choices.get(index)?;
        let Some(option) = Self::parse(cv_bench_answer(completion), &example.choices) else {
            return verdict(false);
        };
        let lower_label = example.label.to_lowercase();
        let gold = [
            choice,
            letter,
            &example.label,
            &lower_label,
            &lower_label[1..2],
        ];
        let is_gold = |text: &str| {
            let text = strip(text);
            !text.is_empty()
                && (gold.iter().any(|gold| strip(gold) == text)
                    || strip(&choice.to_lowercase()) == text)
        };
        let text = option.text();
        verdict(
            is_gold(text)
                || (matches!(option, CvBenchOption::Option(_)) && is_gold(&text.to_lowercase())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::test_example::example;

    fn parse<'a>(text: &'a str, choices: &'a [String]) -> Option<String> {
        CvBenchScore::parse(text, choices).map(|option| option.text().to_owned())
    }

    #[test]
    fn priorities() {
        let choices = ["left", "right", "3"].map(String::from);
        for (text, want) in [
            ("(B)", Some("(B)")),
            ("**B**.", Some("B")),
            ("The best answer is B because of A", Some("B")),
            ("Left or right: left. Answer: right or left", Some("right")),
            ("the final answer is: left", Some("left")),
            ("A B", Some("A")),
            ("x A B", Some("A")),
            ("it is left of 10", Some("10")),
            ("it is 10 to the left", Some("left")),
            ("count: 1,003", Some("1003")),
            ("\\boxed{right} left", Some("right")),
            ("it is $left$", Some("left")),
            ("LEFT", None),
            ("none of these", None),
            ("", None),
        ] {
            assert_eq!(parse(text, &choices).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn the_label_must_be_an_option_of_the_example() {
        let score = |label, text| CvBenchScore {}.score(text, &example(label, &["left", "right"]));
        assert_eq!(score("(B)", "<answer>right</answer>"), Some(1.0));
        assert_eq!(score("(B)", "b"), Some(1.0));
        assert_eq!(score("(B)", ""), Some(0.0));
        for label in ["(C)", "B", "(b)", "(", ")", "", "()", "(é)"] {
            assert_eq!(score(label, "right"), None, "{label}");
        }
    }
}
