//! Losses with their gradients, and advantages, of a thousand to a hundred thousand tokens or
//! completions, in single precision on one thread.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use visrl::grpo::{
    Advantage, AdvantageEstimator, Cispo, Clipped, GrpoLoss, ImportanceLevel, LossBatch,
    LossFamily, PolicyLoss, RewardTable, Sapo, Vespo,
};

const SIZES: [usize; 3] = [1_000, 10_000, 100_000];

/// Tokens of a row.
const LEN: usize = 250;

fn noise(count: usize, scale: f32, phase: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * 12.9898 + phase).sin() * scale)
        .collect()
}

/// The families whose tokens differ: `bnpo`, `dr_grpo`, `dapo` and `luspo` only weigh those of
/// `grpo` otherwise.
fn losses() -> [(&'static str, GrpoLoss); 6] {
    let named = |family: LossFamily| (family.name(), GrpoLoss::new(family));
    let mut gspo = GrpoLoss::new(LossFamily::Grpo(Clipped::default()));
    gspo.terms.importance_sampling_level = ImportanceLevel::Sequence;
    [
        named(LossFamily::default()),
        named(LossFamily::Grpo(Clipped::default())),
        named(LossFamily::Cispo(Cispo::default())),
        named(LossFamily::Sapo(Sapo::default())),
        named(LossFamily::Vespo(Vespo::default())),
        ("gspo", gspo),
    ]
}

fn loss_and_gradient(c: &mut Criterion) {
    let mut group = c.benchmark_group("loss_and_gradient");
    for tokens in SIZES {
        let [logps, old] = [0.0, 0.1].map(|phase| noise(tokens, 0.5, phase));
        let reference = noise(tokens, 0.4, 0.2);
        let ends: Vec<usize> = (LEN..=tokens).step_by(LEN).collect();
        let advantages = noise(ends.len(), 1.0, 0.3);
        let batch = LossBatch::new(&ends, &logps, &advantages)
            .with_old_logps(&old)
            .with_ref_logps(&reference);
        let mut grad = vec![0.0; tokens];
        group.throughput(Throughput::Elements(tokens as u64));
        for (name, loss) in losses() {
            group.bench_function(BenchmarkId::new(name, tokens), |b| {
                b.iter(|| {
                    let summary = loss.evaluate_into(black_box(&batch), &mut grad, None);
                    black_box(summary.unwrap())
                });
            });
        }
    }
    group.finish();
}

fn advantages(c: &mut Criterion) {
    let mut group = c.benchmark_group("advantages");
    for completions in SIZES {
        let rewards: Vec<f32> = (0..completions).map(|i| (i * 7 % 3) as f32).collect();
        let table = RewardTable::new(&rewards, 1, 8).unwrap();
        let mut out = vec![0.0; completions];
        group.throughput(Throughput::Elements(completions as u64));
        for name in ["paper", "normalize_then_sum", "leave_one_out", "mean_only"] {
            let estimator = serde_json::from_str(&format!(r#"{{"type": "{name}"}}"#));
            let estimator: Advantage = estimator.unwrap();
            group.bench_function(BenchmarkId::new(name, completions), |b| {
                b.iter(|| {
                    estimator
                        .advantages_into(black_box(&table), &mut out)
                        .unwrap()
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, loss_and_gradient, advantages);
criterion_main!(benches);
