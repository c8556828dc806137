//! What a policy under training tries, and what it must get for it.

use std::collections::HashSet;

use proptest::prelude::*;
use visrl_core::{Example, ImageSource};
use visrl_reward::matchers::{Contains, Exact, IgnoreCase, Matcher, MatcherKind, Numeric, Trimmed};
use visrl_reward::rules::{
    AdaptiveFormat, AnswerReasonFormat, CvBenchScore, ExactCompletion, LengthUnit,
    LenientEvaluation, OverlongPenalty, ReferenceTagAccuracy, RepetitionPenalty, SatAccuracy,
    StrictTagAccuracy, TagUse, ThinkAnswerAgreement, ThinkAnswerFormat, TrimmedCompletion,
};
use visrl_reward::tags::{first_answer, first_answer_in_line};
use visrl_reward::text::is_blank;
use visrl_reward::{RewardRule, RewardSet, Rule};

fn example(label: &str, choices: &[&str]) -> Example {
    Example {
        id: "adversarial".into(),
        image: ImageSource::path("none.png"),
        question: String::new(),
        choices: choices.iter().map(ToString::to_string).collect(),
        label: label.into(),
    }
}

/// A completion, its score and the reason for it.
type Case<'a> = (&'a str, Option<f32>, &'a str);

const YES: Option<f32> = Some(1.0);
const NO: Option<f32> = Some(0.0);

fn check(rule: impl Into<Rule>, example: &Example, cases: &[Case<'_>]) {
    let rule = rule.into();
    for (completion, want, why) in cases {
        let got = rule.score(completion, example);
        assert_eq!(got, *want, "{}: {completion:?}: {why}", rule.name());
    }
}

fn coat() -> Example {
    example("Coat", &["Bag", "Coat", "Raincoat"])
}

#[test]
fn strict_tag_accuracy() {
    check(
        StrictTagAccuracy::default(),
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            (
                "<think>a bag?</think><answer> coat\n</answer>",
                YES,
                "blanks and case are free",
            ),
            ("", NO, "nothing is no answer"),
            ("Coat", NO, "the tag must be there"),
            ("<answer></answer>", NO, "an empty answer is wrong"),
            (
                "<answer>Bag, Coat, Raincoat</answer>",
                NO,
                "all choices listed",
            ),
            (
                "<answer>Bag</answer><answer>Coat</answer>",
                NO,
                "two guesses",
            ),
            (
                "<answer>Coat</answer><answer>Coat</answer>",
                NO,
                "twice is not once",
            ),
            (
                "<answer><answer>Coat</answer></answer>",
                NO,
                "a tag inside the tag",
            ),
            (
                "<think><answer>Coat</answer></think>",
                NO,
                "answered only in the thought",
            ),
            (
                "<think>Coat</think><answer>Bag</answer>",
                NO,
                "the thought does not count",
            ),
            (
                "<think><answer>Coat</answer>",
                NO,
                "the thought never ended",
            ),
            (
                "<answer>Raincoat</answer>",
                NO,
                "contains the label, is another",
            ),
            ("<answer>Coa</answer>", NO, "a part of the label"),
            (
                "<answer>\u{200b}Coat</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            (
                "<answer>Co\u{ad}at</answer>",
                NO,
                "a soft hyphen is a character",
            ),
            ("<ANSWER>Coat</ANSWER>", NO, "tags are lower case"),
            ("<answer >Coat</answer>", NO, "tags have no blanks"),
            ("<answer>Coat", NO, "the tag is not closed"),
        ],
    );
    let bare = StrictTagAccuracy::default().score("<answer></answer>", &example("", &[]));
    assert_eq!(bare, None, "an empty answer must not match an empty label");
}

#[test]
fn reference_tag_accuracy() {
    check(
        ReferenceTagAccuracy::default(),
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            (
                "coat",
                YES,
                "known fault: without tags the whole completion is compared",
            ),
            (
                "<answer>Coat</answer><answer>Bag</answer>",
                YES,
                "known fault: the first counts",
            ),
            (
                "<think><answer>Coat</answer></think>",
                YES,
                "known fault: even in the thought",
            ),
            (
                "<answer>\nCoat\n</answer>",
                NO,
                "known fault: an answer stands on one line",
            ),
            (
                "<answer>Bag\n</answer><answer>Coat</answer>",
                YES,
                "so the second is the first",
            ),
            ("", NO, "nothing is no answer"),
            ("<answer></answer>", NO, "an empty answer is wrong"),
            ("Bag, Coat, Raincoat", NO, "all choices listed"),
            (
                "<answer><answer>Coat</answer></answer>",
                NO,
                "the inner tag is text",
            ),
            (
                "<answer>Raincoat</answer>",
                NO,
                "contains the label, is another",
            ),
            (
                "<answer>\u{200b}Coat</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            (
                "<answer>\u{3000}Coat\u{1f}</answer>",
                YES,
                "Python's blanks are blanks",
            ),
        ],
    );
    check(
        ReferenceTagAccuracy { underscore: true },
        &example("american_bulldog", &[]),
        &[
            ("American Bulldog", YES, "blanks for underscores"),
            ("american_bulldog", YES, "as it is written"),
            ("american-bulldog", NO, "nothing else for underscores"),
        ],
    );
}

#[test]
fn sat_accuracy() {
    let label = example("B", &["left", "right"]);
    check(
        SatAccuracy::default(),
        &label,
        &[
            ("<answer>B</answer>", YES, "the letter"),
            (
                "B",
                YES,
                "known fault: without tags the whole completion is compared",
            ),
            ("b", NO, "case counts"),
            ("(B)", NO, "the reference's last letter is never defined"),
            ("", NO, "nothing"),
            ("A B", NO, "all choices listed"),
        ],
    );
    check(
        SatAccuracy { last_letter: true },
        &label,
        &[
            ("(B)", YES, "the last letter, as it was meant"),
            ("A or B", YES, "known fault: the last of a list wins"),
            ("B or A", NO, "the last one is another"),
            ("<answer>\u{200b}B</answer>", YES, "the letter stands alone"),
            ("BBC B2", NO, "letters of words are no options"),
        ],
    );
}

#[test]
fn exact_and_trimmed_completion() {
    check(
        ExactCompletion::default(),
        &coat(),
        &[
            ("Coat", YES, "the label to the letter"),
            ("coat", NO, "case counts"),
            ("Coat\n", NO, "the completion is not stripped"),
            (" Coat", NO, "the completion is not stripped"),
            ("Coat.", NO, "no full stop"),
            ("", NO, "nothing"),
            ("Bag Coat Raincoat", NO, "all choices listed"),
            ("<answer>Coat</answer>", NO, "tags are text here"),
            ("Raincoat", NO, "contains the label, is another"),
            ("Coat\u{200b}", NO, "a zero-width space is a character"),
        ],
    );
    check(
        TrimmedCompletion::default(),
        &coat(),
        &[
            ("Coat", YES, "the label"),
            ("\u{85} Coat\u{1c}\n", YES, "blanks at the ends are free"),
            ("coat", NO, "case counts"),
            ("", NO, "nothing"),
            ("Coat Coat", NO, "said twice"),
            ("Raincoat", NO, "contains the label, is another"),
            ("\u{feff}Coat", NO, "a byte order mark is no blank"),
        ],
    );
    check(
        TrimmedCompletion {
            matcher: MatcherKind::Numeric(Numeric::default()),
        },
        &example("1/2", &[]),
        &[
            ("0.5", YES, "the same number"),
            ("$\\frac{1}{2}$", YES, "the same number in LaTeX"),
            ("50%", YES, "the same number in per cent"),
            ("1/2 0.5", NO, "two numbers are none"),
            ("0.5 or 1", NO, "a sentence is no number"),
            ("1/0", NO, "no number at all"),
            ("NaN", NO, "no number by name"),
        ],
    );
    check(
        TrimmedCompletion {
            matcher: MatcherKind::OptionLetter,
        },
        &example("(B)", &["left", "right"]),
        &[
            ("b.", YES, "the letter, marked"),
            ("(B) right", YES, "the letter and its text"),
            ("(A)(B)", NO, "the first letter is another"),
            ("B A", NO, "a bare letter stands alone"),
            ("", NO, "nothing"),
        ],
    );
}

#[test]
fn lenient_evaluation() {
    check(
        LenientEvaluation {},
        &coat(),
        &[
            ("<answer>Coat</answer>", YES, "the tag holds the label"),
            ("a coat", YES, "it contains the label"),
            (
                "<answer>Raincoat</answer>",
                YES,
                "known fault: so does this",
            ),
            (
                "<answer>Bag, Coat, Raincoat</answer>",
                YES,
                "known fault: all choices listed",
            ),
            (
                "<think>Coat</think><answer></answer>",
                YES,
                "known fault: empty falls back to all",
            ),
            (
                "<think><answer>Coat</answer></think><answer>Bag</answer>",
                YES,
                "the first counts",
            ),
            (
                "<answer>\u{200b}Coat</answer>",
                YES,
                "whatever stands around it",
            ),
            (
                "<think>Coat</think><answer>Bag</answer>",
                NO,
                "the thought does not count",
            ),
            (
                "<answer>Bag</answer><answer>Coat</answer>",
                NO,
                "the first counts",
            ),
            (
                "<answer>C\u{200b}oat</answer>",
                NO,
                "a character within breaks the name",
            ),
            ("", NO, "nothing"),
        ],
    );
}

#[test]
fn cv_bench() {
    check(
        CvBenchScore {},
        &example("(B)", &["left", "right"]),
        &[
            ("<think>A</think><answer>(B)</answer>", YES, "the letter"),
            ("<answer>right</answer>", YES, "the choice"),
            ("<answer>\n b. \n</answer>", YES, "the small letter"),
            ("It is on the right.", YES, "the choice in a sentence"),
            ("RIGHT", NO, "known fault: choices are case-sensitive"),
            (
                "<answer>(A) (B)</answer>",
                NO,
                "of a list the beginning counts",
            ),
            (
                "not left but right or left",
                NO,
                "of a sentence the end counts",
            ),
            ("<answer>bright</answer>", NO, "part of another word"),
            (
                "<answer>\u{200b}right</answer>",
                NO,
                "a zero-width space is no blank",
            ),
            ("<answer></answer>", NO, "nothing"),
            ("", NO, "nothing"),
        ],
    );
    let foreign = CvBenchScore {}.score("right", &example("right", &["left", "right"]));
    assert_eq!(foreign, None, "the label is no bracketed letter");
}

#[test]
fn formats() {
    let think: &[Case<'_>] = &[
        ("<think>a</think>\n<answer>b</answer>", YES, "the format"),
        (
            "<think></think><answer></answer>",
            YES,
            "nothing said, in the right form",
        ),
        ("", NO, "nothing"),
        ("<answer>b</answer>", NO, "no thought"),
        ("<think>a</think>", NO, "no answer"),
        (
            "<answer>b</answer><think>a</think>",
            NO,
            "the wrong way round",
        ),
        (
            " <think>a</think><answer>b</answer>",
            NO,
            "something before",
        ),
        (
            "<think>a</think><answer>b</answer>\n",
            NO,
            "something after",
        ),
        (
            "<think>a</think>so<answer>b</answer>",
            NO,
            "something between",
        ),
        (
            "<think>a</think>\u{200b}<answer>b</answer>",
            NO,
            "a zero-width space is no blank",
        ),
        (
            "<think>a</think>\u{85}\u{1c}<answer>b</answer>",
            YES,
            "Python's blanks are blanks",
        ),
        ("<think>a<answer>b</think></answer>", NO, "crossed tags"),
    ];
    let nested = "<think><answer>b</answer></think><answer>b</answer>";
    for tags in [TagUse::Any, TagUse::Once] {
        check(ThinkAnswerFormat { tags }, &coat(), think);
    }
    check(
        ThinkAnswerFormat::default(),
        &coat(),
        &[(nested, YES, "known fault: tags may hide")],
    );
    let once = ThinkAnswerFormat { tags: TagUse::Once };
    check(once, &coat(), &[(nested, NO, "a second answer")]);
    for tags in [TagUse::Any, TagUse::Once] {
        check(
            AnswerReasonFormat { tags },
            &coat(),
            &[
                ("<answer>b</answer> <reason>a</reason>", YES, "the format"),
                (
                    "<reason>a</reason><answer>b</answer>",
                    NO,
                    "the wrong way round",
                ),
                ("<answer>b</answer>", NO, "no reason"),
                (
                    "<answer>b<reason>a</reason></answer>",
                    NO,
                    "one within the other",
                ),
                (
                    "<answer>b</answer><reason>a</reason>.",
                    NO,
                    "something after",
                ),
                ("", NO, "nothing"),
            ],
        );
        check(
            AdaptiveFormat { tags },
            &coat(),
            &[
                ("<answer>b</answer>", YES, "the answer alone"),
                (
                    "<think>a</think> <answer>b</answer>",
                    YES,
                    "thought and answer",
                ),
                ("<think>a</think>", NO, "no answer"),
                ("b", NO, "no tags"),
                ("<answer>b", NO, "not closed"),
                ("a<answer>b</answer>", NO, "a thought without tags"),
            ],
        );
    }
    let two = "<answer>a</answer><answer>b</answer>";
    check(
        AdaptiveFormat::default(),
        &coat(),
        &[(two, YES, "known fault: tags may hide")],
    );
    check(
        AdaptiveFormat { tags: TagUse::Once },
        &coat(),
        &[(two, NO, "two answers")],
    );
}

#[test]
fn penalties() {
    let overlong = OverlongPenalty {
        max_length: 8,
        buffer: 4,
        unit: LengthUnit::Chars,
    };
    check(
        overlong,
        &coat(),
        &[
            ("", NO, "nothing is not too long"),
            ("1234", NO, "up to the buffer it is free"),
            ("123456", Some(-0.5), "half into the buffer"),
            ("中中中中中中", Some(-0.5), "characters, not bytes"),
            (
                "\u{200b}\u{200b}\u{200b}\u{200b}\u{200b}\u{200b}",
                Some(-0.5),
                "unseen ones count",
            ),
            ("12345678", Some(-1.0), "at the limit"),
            ("123456789", Some(-1.0), "beyond it"),
        ],
    );
    let words = OverlongPenalty {
        max_length: 2,
        buffer: 2,
        unit: LengthUnit::Words,
    };
    check(
        words,
        &coat(),
        &[("    a    ", Some(-0.5), "one word, whatever the blanks")],
    );
    check(
        RepetitionPenalty {
            ngram: 2,
            max_penalty: -1.0,
        },
        &coat(),
        &[
            ("", NO, "nothing repeats nothing"),
            ("a b c", NO, "no pair twice"),
            (
                "coat coat coat coat coat",
                Some(-0.75),
                "one pair four times",
            ),
            (
                "Coat coat COAT coat coat",
                Some(-0.75),
                "case does not hide it",
            ),
            (
                "coat\u{3000}coat\ncoat coat coat",
                Some(-0.75),
                "nor do other blanks",
            ),
        ],
    );
}

#[test]
fn agreement() {
    check(
        ThinkAnswerAgreement {},
        &coat(),
        &[
            (
                "<think>Not a bag, a coat.</think><answer>Coat</answer>",
                YES,
                "they agree",
            ),
            (
                "<think>Not a bag, a coat.</think><answer>Bag</answer>",
                NO,
                "they do not",
            ),
            (
                "<think>It is a bag.</think><answer>Bag</answer>",
                YES,
                "agreed, though wrong",
            ),
            (
                "<think>A raincoat.</think><answer>Coat</answer>",
                NO,
                "coat within raincoat",
            ),
            (
                "<think>Bag, Coat, Raincoat</think><answer>Coat</answer>",
                NO,
                "the last one counts",
            ),
            (
                "<think>Hm.</think><answer>Coat</answer>",
                None,
                "the thought names none",
            ),
            ("<think>coat</think>Coat", None, "no answer"),
            ("<answer>Coat</answer>", None, "no thought"),
            (
                "<think>coat</think><answer></answer>",
                None,
                "an empty answer",
            ),
            ("", None, "nothing"),
        ],
    );
}

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
