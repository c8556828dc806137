//! Scoring: a group of 64 completions of about 1,024 tokens (four kilobytes) each.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use visrl::core::{Example, ImageSource};
use visrl::reward::rules::{CvBenchScore, RepetitionPenalty, ThinkAnswerAgreement};
use visrl::reward::tags::{only_answer, only_thought};
use visrl::reward::{Answered, RewardSet, Rule, WeightedRule};

const GROUP: usize = 64;
const BYTES: usize = 4096;

/// Completions that think in words of a small vocabulary and then answer.
fn completions() -> Vec<String> {
    const WORDS: [&str; 16] = [
        "The", "photo", "shows", "a", "coat", "with", "long", "sleeves,", "so", "the", "object",
        "is", "not", "left", "of", "bags.",
    ];
    (0..GROUP)
        .map(|index| {
            let mut state = index as u64 + 1;
            let mut text = String::from("<think>");
            while text.len() < BYTES {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                text.push_str(WORDS[(state >> 60) as usize]);
                text.push(' ');
            }
            text + "</think>\n<answer>Coat</answer>"
        })
        .collect()
}

fn example(label: &str) -> Example {
    Example {
        id: "bench".into(),
        image: ImageSource::path("none.png"),
        question: "What type of object is in the photo?".into(),
        choices: ["Bag", "Coat", "Raincoat", "left"]
            .map(String::from)
            .to_vec(),
        label: label.into(),
        row: Default::default(),
    }
}

fn scoring(c: &mut Criterion) {
    let completions = completions();
    let texts: Vec<&str> = completions.iter().map(String::as_str).collect();
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    let mut group = c.benchmark_group("score_64_of_1024_tokens");
    group.throughput(Throughput::Bytes(bytes as u64));
    let one = |rule: Rule| RewardSet::new(vec![WeightedRule::new(rule, 1.0)]).unwrap();
    for (name, set, label) in [
        ("cls_rl", RewardSet::cls_rl(), "Coat"),
        ("cls_rl_reference", RewardSet::cls_rl_reference(), "Coat"),
        ("cv_bench", one(CvBenchScore::default().into()), "(B)"),
        (
            "repetition",
            one(RepetitionPenalty::default().into()),
            "Coat",
        ),
        (
            "agreement",
            one(ThinkAnswerAgreement::default().into()),
            "Coat",
        ),
    ] {
        let example = example(label);
        let answered = texts.iter().map(|completion| Answered {
            completion,
            example: &example,
        });
        let batch: Vec<_> = answered.collect();
        group.bench_function(name, |b| b.iter(|| set.score_batch(black_box(&batch))));
    }
    group.finish();
}

fn tags(c: &mut Criterion) {
    let completions = completions();
    let bytes: usize = completions.iter().map(String::len).sum();
    let mut group = c.benchmark_group("tags_64_of_1024_tokens");
    group.throughput(Throughput::Bytes(bytes as u64));
    group.bench_function("only_answer", |b| {
        b.iter(|| {
            completions
                .iter()
                .filter_map(|text| only_answer(black_box(text)))
                .count()
        });
    });
    group.bench_function("only_thought", |b| {
        b.iter(|| {
            completions
                .iter()
                .filter_map(|text| only_thought(black_box(text)))
                .count()
        });
    });
    group.finish();
}

criterion_group!(benches, scoring, tags);
criterion_main!(benches);
