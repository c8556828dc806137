//! The mathematics on slices: advantages and losses with their gradients, from a thousand to a
//! million tokens, beside a plain copy of the same bytes.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use visrl::grpo::{Advantage, AdvantageEstimator, GrpoLoss, PolicyLoss, RewardTable, TokenBatch};

fn noise(count: usize, scale: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * 12.9898).sin() * scale)
        .collect()
}

fn advantages(c: &mut Criterion) {
    let mut group = c.benchmark_group("advantages");
    for completions in [64usize, 4096, 262_144] {
        let rewards: Vec<f32> = (0..completions).map(|i| (i * 7 % 3) as f32).collect();
        let mut out = vec![0.0; completions];
        group.throughput(Throughput::Bytes(8 * completions as u64));
        group.bench_with_input(
            BenchmarkId::new("paper", completions),
            &rewards,
            |b, rewards| {
                let table = RewardTable::new(rewards, 1, 8).unwrap();
                b.iter(|| {
                    Advantage::default()
                        .advantages_into(black_box(&table), &mut out)
                        .unwrap()
                });
            },
        );
        group.bench_with_input(
            BenchmarkId::new("copy", completions),
            &rewards,
            |b, rewards| {
                let mut out = vec![0.0; rewards.len()];
                b.iter(|| out.copy_from_slice(black_box(rewards)));
            },
        );
    }
    group.finish();
}

fn losses(c: &mut Criterion) {
    let mut group = c.benchmark_group("loss_and_gradient");
    let len = 250;
    for tokens in [1_000usize, 100_000, 1_000_000] {
        let rows = tokens / len;
        let logps = noise(tokens, 0.5);
        let reference = noise(tokens, 0.4);
        let mask = vec![true; tokens];
        let advantages = noise(rows, 1.0);
        let mut grad = vec![0.0; tokens];
        group.throughput(Throughput::Bytes(13 * tokens as u64));
        group.bench_function(BenchmarkId::new("paper", tokens), |b| {
            let batch = TokenBatch::new(len, &logps, &mask, &advantages).with_ref_logps(&reference);
            let loss = GrpoLoss::default();
            b.iter(|| {
                loss.evaluate_into(black_box(&batch), &mut grad, None)
                    .unwrap()
            });
        });
        group.bench_function(BenchmarkId::new("copy", tokens), |b| {
            let bytes = vec![1u8; 13 * tokens];
            let mut out = vec![0u8; 13 * tokens];
            b.iter(|| out.copy_from_slice(black_box(&bytes)));
        });
    }
    group.finish();
}

criterion_group!(benches, advantages, losses);
criterion_main!(benches);
