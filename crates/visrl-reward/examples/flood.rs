//! Prints how long every rule and every matcher takes for megabytes of tags, unclosed tags, almost
//! tags and other text that could cost more than a fixed time per byte.
//!
//! ```text
//! cargo run --release -p visrl-reward --example flood [MEGABYTES]
//! ```
//!
//! Rows are rules, then matchers; columns are floods, described above the table; cells are
//! milliseconds, the best of three.
#![allow(clippy::print_stdout, reason = "the table is what this program is for")]

use std::hint::black_box;
use std::time::Instant;

use visrl_core::{Example, ImageSource};
use visrl_reward::Rule;
use visrl_reward::matchers::{Matcher, MatcherKind, Numeric};
use visrl_reward::rules::{
    AdaptiveFormat, AnswerReasonFormat, CvBenchScore, ExactCompletion, LengthUnit,
    LenientEvaluation, OverlongPenalty, ReferenceTagAccuracy, RepetitionPenalty, SatAccuracy,
    StrictTagAccuracy, TagUse, ThinkAnswerAgreement, ThinkAnswerFormat, TrimmedCompletion,
};

/// What a flood repeats, and whether it stands within a thought and an answer.
const FLOODS: [(&str, bool); 20] = [
    ("<answer>", false),
    ("<think>", false),
    ("</answer>", false),
    ("</think>", false),
    ("<", false),
    ("</", false),
    ("<answe", false),
    ("<think><answer>", false),
    ("<answer></answer>", false),
    ("<think></think><answer></answer>\n", false),
    ("<answer>\n", false),
    ("<answer> ", false),
    ("<answer>", true),
    ("<think>", true),
    ("</think>", true),
    ("</think> ", true),
    ("<", true),
    ("</answe", true),
    ("<reason><", true),
    ("A coat of <answe ", true),
];

fn rules() -> Vec<(&'static str, Rule)> {
    let strict = |matcher| StrictTagAccuracy { matcher }.into();
    let trimmed = |matcher| TrimmedCompletion { matcher }.into();
    let tags = TagUse::Once;
    let length = |unit| {
        OverlongPenalty {
            unit,
            ..OverlongPenalty::default()
        }
        .into()
    };
    vec![
        ("strict_tag_accuracy", StrictTagAccuracy::default().into()),
        ("  contains", strict(MatcherKind::Contains)),
        (
            "reference_tag_accuracy",
            ReferenceTagAccuracy::default().into(),
        ),
        (
            "  underscore",
            ReferenceTagAccuracy { underscore: true }.into(),
        ),
        ("sat_accuracy", SatAccuracy::default().into()),
        ("  last_letter", SatAccuracy { last_letter: true }.into()),
        ("exact_completion", ExactCompletion::default().into()),
        ("trimmed_completion", TrimmedCompletion::default().into()),
        (
            "  numeric",
            trimmed(MatcherKind::Numeric(Numeric::default())),
        ),
        ("lenient_evaluation", LenientEvaluation::default().into()),
        ("cv_bench", CvBenchScore::default().into()),
        ("think_answer_format", ThinkAnswerFormat::default().into()),
        ("  once", ThinkAnswerFormat { tags }.into()),
        ("answer_reason_format", AnswerReasonFormat::default().into()),
        ("  once", AnswerReasonFormat { tags }.into()),
        ("adaptive_format", AdaptiveFormat::default().into()),
        ("  once", AdaptiveFormat { tags }.into()),
        ("overlong_penalty", length(LengthUnit::Chars)),
        ("  words", length(LengthUnit::Words)),
        ("repetition_penalty", RepetitionPenalty::default().into()),
        (
            "think_answer_agreement",
            ThinkAnswerAgreement::default().into(),
        ),
    ]
}

fn matchers() -> Vec<MatcherKind> {
    vec![
        MatcherKind::Exact,
        MatcherKind::Trimmed,
        MatcherKind::IgnoreCase,
        MatcherKind::Contains,
        MatcherKind::OptionLetter,
        MatcherKind::LastLetter,
        MatcherKind::Numeric(Numeric::default()),
        MatcherKind::underscore(MatcherKind::IgnoreCase),
        MatcherKind::StrictTag(Box::new(MatcherKind::IgnoreCase)),
        MatcherKind::AnyOf(vec![MatcherKind::Exact, MatcherKind::LastLetter]),
    ]
}

/// The best of three, in milliseconds.
fn time<T>(mut work: impl FnMut() -> T) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..3 {
        let start = Instant::now();
        black_box(work());
        best = best.min(start.elapsed().as_secs_f64() * 1e3);
    }
    best
}

/// Prints a row and returns its greatest cell.
fn row(name: &str, texts: &[String], mut work: impl FnMut(&str)) -> f64 {
    print!("{name:<24}");
    let mut most: f64 = 0.0;
    for text in texts {
        let cell = time(|| work(black_box(text)));
        most = most.max(cell);
        print!("{cell:7.1}");
    }
    println!("{most:8.1}");
    most
}

fn main() {
    let megabytes = std::env::args()
        .nth(1)
        .and_then(|argument| argument.parse().ok())
        .unwrap_or(10);
    let bytes: usize = megabytes * 1_000_000;
    let mut texts = Vec::new();
    for (number, (piece, within)) in FLOODS.iter().enumerate() {
        let text = if *within {
            let body = piece.repeat(bytes / 2 / piece.len());
            format!("<think>{body}</think><answer>{body}</answer>")
        } else {
            piece.repeat(bytes / piece.len())
        };
        let place = if *within {
            " in a thought and in an answer"
        } else {
            ""
        };
        println!("{:>3}: {piece:?}{place}", number + 1);
        texts.push(text);
    }
    let example = |label: &str| Example {
        id: "flood".into(),
        image: ImageSource::path("none.png"),
        question: String::new(),
        choices: ["bag", "rain_coat", "coat"].map(String::from).to_vec(),
        label: label.into(),
        row: Default::default(),
    };
    let (named, lettered) = (example("rain_coat"), example("(B)"));

    print!("\n{:<24}", format!("ms for {megabytes} MB"));
    (1..=texts.len()).for_each(|number| print!("{number:7}"));
    println!("{:>8}", "max");
    let mut most: f64 = 0.0;
    for (name, rule) in rules() {
        let is_lettered = matches!(rule, Rule::CvBench(_) | Rule::SatAccuracy(_));
        let example = if is_lettered { &lettered } else { &named };
        most = most.max(row(name, &texts, |text| {
            black_box(rule.score(text, example));
        }));
    }
    for matcher in matchers() {
        let label = match matcher {
            MatcherKind::OptionLetter | MatcherKind::LastLetter | MatcherKind::AnyOf(_) => "B",
            MatcherKind::Numeric(_) => "1/2",
            _ => "rain_coat",
        };
        let name = format!("({})", matcher.name());
        most = most.max(row(&name, &texts, |text| {
            black_box(matcher.matches(text, label));
        }));
    }
    println!("{:<24}{:>w$.1}", "max", most, w = 7 * texts.len() + 8);
}
