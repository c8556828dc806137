//! What holds of every rule, whatever is written.

use std::collections::HashSet;

use proptest::prelude::*;
use visrl_core::Example;
use visrl_reward::matchers::{Contains, Exact, IgnoreCase, Matcher, MatcherKind, Numeric, Trimmed};
use visrl_reward::rules::{
    AdaptiveFormat, AnswerReasonFormat, CvBenchScore, ExactCompletion, LengthUnit,
    LenientEvaluation, OverlongPenalty, ReferenceTagAccuracy, RepetitionPenalty, SatAccuracy,
    StrictTagAccuracy, TagUse, ThinkAnswerAgreement, ThinkAnswerFormat, TrimmedCompletion,
};
use visrl_reward::tags::{first_answer, first_answer_in_line};
use visrl_reward::text::is_blank;
use visrl_reward::{RewardRule, RewardSet, Rule};

use crate::*;

/// Every built-in rule, with settings besides the defaults.
fn all_rules() -> Vec<Rule> {
    let strict = |matcher| Rule::from(StrictTagAccuracy { matcher });
    let trimmed = |matcher| Rule::from(TrimmedCompletion { matcher });
    let once = TagUse::Once;
    vec![
        strict(MatcherKind::IgnoreCase),
        strict(MatcherKind::underscore(MatcherKind::Trimmed)),
        strict(MatcherKind::AnyOf(vec![
            MatcherKind::LastLetter,
            MatcherKind::OptionLetter,
        ])),
        trimmed(MatcherKind::Trimmed),
        trimmed(MatcherKind::Numeric(Numeric::default())),
        trimmed(MatcherKind::OptionLetter),
        trimmed(MatcherKind::LastLetter),
        trimmed(MatcherKind::StrictTag(Box::new(MatcherKind::Contains))),
        ReferenceTagAccuracy { underscore: false }.into(),
        ReferenceTagAccuracy { underscore: true }.into(),
        SatAccuracy { last_letter: false }.into(),
        SatAccuracy { last_letter: true }.into(),
        ExactCompletion { underscore: false }.into(),
        ExactCompletion { underscore: true }.into(),
        LenientEvaluation {}.into(),
        CvBenchScore {}.into(),
        ThinkAnswerFormat::default().into(),
        ThinkAnswerFormat { tags: once }.into(),
        AnswerReasonFormat::default().into(),
        AnswerReasonFormat { tags: once }.into(),
        AdaptiveFormat::default().into(),
        AdaptiveFormat { tags: once }.into(),
        OverlongPenalty {
            max_length: 40,
            buffer: 20,
            unit: LengthUnit::Bytes,
        }
        .into(),
        OverlongPenalty {
            max_length: 5,
            buffer: 0,
            unit: LengthUnit::Words,
        }
        .into(),
        RepetitionPenalty {
            ngram: 1,
            max_penalty: -0.5,
        }
        .into(),
        RepetitionPenalty::default().into(),
        ThinkAnswerAgreement {}.into(),
    ]
}

fn assert_in_range(rule: &Rule, text: &str, example: &Example, what: &str) {
    let (least, greatest) = rule.range();
    if let Some(score) = rule.score(text, example) {
        assert!(
            (least..=greatest).contains(&score),
            "{} of {what:?}s: {score}",
            rule.name()
        );
    }
}

/// Ten megabytes of nested and unclosed tags: were finding them of a higher than linear cost, this
/// test would not end.
#[test]
fn megabytes_of_tags() {
    const BYTES: usize = 10_000_000;
    let example = coat();
    let pieces = [
        "<think>",
        "<answer>",
        "</answer>",
        "<answer>\n",
        "</think> ",
        "<think><answer></think>",
    ];
    let rules: [Rule; 8] = [
        StrictTagAccuracy::default().into(),
        ReferenceTagAccuracy::default().into(),
        LenientEvaluation {}.into(),
        CvBenchScore {}.into(),
        ThinkAnswerFormat::default().into(),
        AnswerReasonFormat { tags: TagUse::Once }.into(),
        AdaptiveFormat::default().into(),
        ThinkAnswerAgreement {}.into(),
    ];
    for piece in pieces {
        let body = piece.repeat(BYTES / 2 / piece.len());
        let text = format!("<think>{body}</think><answer>{body}</answer>");
        for rule in &rules {
            assert_in_range(rule, &text, &example, piece);
        }
    }
}

/// A megabyte each of what could cost any rule more than a fixed time per byte.
#[test]
fn a_megabyte_of_anything() {
    const BYTES: usize = 1_000_000;
    let pieces = [
        "</think></answer>",
        "<<<<",
        "\\boxed{",
        "$$ ",
        "$",
        "1,234 ",
        "1",
        "answer: ",
        "final answer is ",
        "\u{3000}",
        "(",
        "coat",
        "a ",
    ];
    let example = example("(C)", &["left", "right", "coat", "raincoat"]);
    for piece in pieces {
        let body = piece.repeat(BYTES / 2 / piece.len());
        let text = format!("<think>{body}</think><answer>{body}</answer>");
        for rule in all_rules() {
            assert_in_range(&rule, &text, &example, piece);
        }
    }
}

fn words() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "<reason>",
        "</reason>",
        "<",
        ">",
        " ",
        "\n",
        "\t",
        "\u{85}",
        "\u{3000}",
        "\u{1c}",
        "\u{200b}",
        "Coat",
        "coat",
        "raincoat",
        "A_b",
        "a b",
        "ΣΑΣ",
        "σας",
        "ß",
        "İ",
        "中国菜",
        "(B)",
        "B",
        "left",
        "3",
        "1/2",
        "0.5",
        "1,000",
        "%",
        "-",
        "$",
        "\\boxed{",
        "\\frac{1}{2}",
        "}",
        "**",
        "The answer is",
        "Answer:",
        "final answer is",
        "I hope",
        "=",
        ".",
        "é",
        "\u{10ffff}",
    ]);
    let pieces = prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat());
    prop_oneof![4 => pieces, 1 => any::<String>()]
}

/// A completion in one of the usual forms around anything.
fn completions() -> impl Strategy<Value = String> {
    let thought = (words(), words());
    prop_oneof![
        words(),
        words().prop_map(|answer| format!("<answer>{answer}</answer>")),
        thought.prop_map(|(a, b)| format!("<think>{a}</think>\n<answer>{b}</answer>")),
    ]
}

/// A label as data sets have it: without tags and without blanks or underscores at the ends.
fn labels() -> impl Strategy<Value = String> {
    words().prop_map(|label| {
        let label = label.replace(['<', '>'], "");
        let label = label.trim_matches(|c| c == '_' || visrl_reward::text::is_blank(c));
        if label.is_empty() {
            "x".into()
        } else {
            label.to_owned()
        }
    })
}

/// A label and a completion that often is right.
fn pairs() -> impl Strategy<Value = (String, String)> {
    (labels(), completions(), 0..6u8).prop_map(|(label, completion, kind)| {
        let completion = match kind {
            0 => label.clone(),
            1 => format!(" {}\n", label.to_lowercase()),
            2 => format!("<answer>{}</answer>", label.to_uppercase()),
            3 => format!("<think>{completion}</think><answer>{label}</answer>"),
            4 => format!("<answer> {} </answer>", label.replace('_', " ")),
            _ => completion,
        };
        (label, completion)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_rule_panics_or_leaves_its_range(
        completion in completions(),
        label in words(),
        choices in prop::collection::vec(words(), 0..5),
    ) {
        let choices: Vec<&str> = choices.iter().map(String::as_str).collect();
        for label in [label.as_str(), "(A)", "(E)"] {
            let example = example(label, &choices);
            for rule in all_rules() {
                let (least, greatest) = rule.range();
                if let Some(score) = rule.score(&completion, &example) {
                    prop_assert!((least..=greatest).contains(&score), "{}: {score}", rule.name());
                }
            }
        }
    }

    #[test]
    fn stricter_matchers_match_less((label, answer) in pairs()) {
        let chain: [&dyn Matcher; 4] = [&Exact, &Trimmed, &IgnoreCase, &Contains];
        for pair in chain.windows(2) {
            let [strict, lenient] = [pair[0], pair[1]].map(|m| m.matches(&answer, &label));
            prop_assert!(strict <= lenient, "{} > {}", pair[0].name(), pair[1].name());
        }
        for inner in [MatcherKind::Exact, MatcherKind::IgnoreCase] {
            let wide = MatcherKind::underscore(inner.clone());
            prop_assert!(inner.matches(&answer, &label) <= wide.matches(&answer, &label));
            prop_assert!(wide.matches(&answer, &label) <= Contains.matches(&answer, &label));
        }
    }

    #[test]
    fn stricter_rules_pay_less((label, completion) in pairs()) {
        let example = example(&label, &[]);
        let score = |rule: Rule| rule.score(&completion, &example);
        let strict = |matcher| score(StrictTagAccuracy { matcher }.into());
        let reference = |underscore| score(ReferenceTagAccuracy { underscore }.into());
        let lenient = score(LenientEvaluation {}.into());
        let exact = score(ExactCompletion::default().into());
        let trimmed = score(TrimmedCompletion::default().into());
        let ignore_case = || MatcherKind::IgnoreCase;
        prop_assert!(strict(MatcherKind::Exact) <= strict(ignore_case()));
        prop_assert!(strict(ignore_case()) <= strict(MatcherKind::underscore(ignore_case())));
        prop_assert!(strict(MatcherKind::underscore(ignore_case())) <= lenient);
        if !completion.contains('\n') {
            prop_assert!(strict(ignore_case()) <= reference(false));
        }
        let spaced = score(ExactCompletion { underscore: true }.into());
 prop_assert!(exact <= spaced);
        prop_assert!(exact <= trimmed);
        prop_assert!(trimmed <= score(SatAccuracy::default().into()));
        prop_assert!(score(SatAccuracy::default().into()) <= reference(false));
        prop_assert!(reference(false) <= reference(true));
        prop_assert!(trimmed <= lenient);
    }

    #[test]
    fn stricter_formats_pay_less(completion in completions()) {
        let example = example("x", &[]);
        let score = |rule: Rule| rule.score(&completion, &example);
        let [any, once] = [TagUse::Any, TagUse::Once];
        for [strict, lenient] in [
            [Rule::from(ThinkAnswerFormat { tags: once }), ThinkAnswerFormat { tags: any }.into()],
            [AnswerReasonFormat { tags: once }.into(), AnswerReasonFormat { tags: any }.into()],
            [AdaptiveFormat { tags: once }.into(), AdaptiveFormat { tags: any }.into()],
            [ThinkAnswerFormat { tags: any }.into(), AdaptiveFormat { tags: any }.into()],
            [ThinkAnswerFormat { tags: once }.into(), AdaptiveFormat { tags: once }.into()],
        ] {
            prop_assert!(score(strict) <= score(lenient));
        }
    }

    /// The walks over bytes find what the plain definitions say.
    #[test]
    fn answers_are_found_as_defined(completion in completions()) {
        let first = |text: &str| {
            let (_, rest) = text.split_once("<answer>")?;
            Some(rest.split_once("</answer>")?.0.to_owned())
        };
        let over_lines = first(&completion);
        prop_assert_eq!(first_answer(&completion), over_lines.as_deref());
        let in_line = completion.split('\n').find_map(first);
        prop_assert_eq!(first_answer_in_line(&completion), in_line.as_deref());
    }

    #[test]
    fn repetition_is_counted_as_defined(completion in completions(), ngram in 1..5usize) {
        let lower = completion.to_lowercase();
        let words: Vec<&str> = lower.split(is_blank).filter(|word| !word.is_empty()).collect();
        let all = words.windows(ngram).count();
        let distinct = words.windows(ngram).collect::<HashSet<_>>().len();
        let want = if all == 0 { 0.0 } else { distinct as f64 / all as f64 - 1.0 };
        let rule = RepetitionPenalty { ngram, max_penalty: -1.0 };
        prop_assert_eq!(rule.score(&completion, &example("x", &[])), Some(want as f32));
    }

    #[test]
    fn totals_stay_in_range((label, completion) in pairs()) {
        let set = RewardSet::cls_rl()
            .with(OverlongPenalty { max_length: 30, buffer: 20, unit: LengthUnit::Chars }, 0.5)?
            .with(RepetitionPenalty::default(), 2.0)?
            .with(ThinkAnswerAgreement {}, -0.25)?;
        let (least, greatest) = set.range();
        let scored = set.score(&completion, &example(&label, &[]));
        let total = scored.total.unwrap();
        prop_assert!((least..=greatest).contains(&total), "{total}");
        prop_assert_eq!(scored.scores.len(), set.names().count());
    }
}
