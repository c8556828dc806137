//! Losses with their gradients, advantages and KL estimators on slices, and losses on tensors, from
//! a thousand to a million tokens, beside a plain copy of the bytes that they read and write.

use std::hint::black_box;

use burn::tensor::{Device, Tensor, TensorData};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use visrl::grpo::tensor::TensorBatch;
use visrl::grpo::{
    Advantage, AdvantageEstimator, Cispo, Clipped, DrGrpo, GrpoLoss, ImportanceLevel, Kl,
    KlEstimator, LeaveOneOut, Loss, MeanOnly, NormalizeThenSum, OnPolicy, PolicyLoss, RewardTable,
    Sapo, Terms, TokenBatch, Vespo,
};

const SIZES: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

/// Tokens of a row.
const LEN: usize = 250;

fn noise(count: usize, scale: f32, phase: f32) -> Vec<f32> {
    (0..count)
        .map(|i| (i as f32 * 12.9898 + phase).sin() * scale)
        .collect()
}

/// Bytes beyond every cache.
const MEMORY: usize = 128 << 20;

/// Where a kernel finds its batch: in memory, as after the pass through the model that computed it, or
/// in the cache, where the same batch was a moment ago.
const PLACES: [(&str, usize); 2] = [("from memory", MEMORY), ("from cache", 0)];

type Group<'a> = criterion::BenchmarkGroup<'a, criterion::measurement::WallTime>;

/// One kernel on one batch after the other.
fn kernel<T>(
    group: &mut Group<'_>,
    name: &str,
    tokens: usize,
    batches: &mut [T],
    mut run: impl FnMut(&mut T),
) {
    let mut next = 0;
    group.bench_function(BenchmarkId::new(name, tokens), |b| {
        b.iter(|| {
            next = (next + 1) % batches.len();
            run(black_box(&mut batches[next]));
        });
    });
}

/// A plain copy of the bytes that a kernel reads and writes, and one that moves as many bytes as the
/// kernel does: since a copy reads and writes each byte, half of them.
fn copies(group: &mut Group<'_>, tokens: usize, bytes: usize, pool: usize) {
    for (name, bytes) in [
        ("copy", bytes * tokens),
        ("copy of half", bytes * tokens / 2),
    ] {
        let mut batches = vec![(vec![1u8; bytes], vec![2u8; bytes]); count(pool, bytes)];
        group.throughput(Throughput::Bytes(bytes as u64));
        kernel(group, name, tokens, &mut batches, |(from, to)| {
            to.copy_from_slice(from);
        });
    }
}

/// How many batches of so many bytes fill the pool.
fn count(pool: usize, bytes: usize) -> usize {
    (pool / bytes).max(1)
}

fn advantages(c: &mut Criterion) {
    let estimators = [
        ("paper", Advantage::default()),
        (
            "normalize_then_sum",
            Advantage::NormalizeThenSum(NormalizeThenSum::default()),
        ),
        ("leave_one_out", Advantage::LeaveOneOut(LeaveOneOut {})),
        ("mean_only", Advantage::MeanOnly(MeanOnly {})),
    ];
    for (place, pool) in PLACES {
        let mut group = c.benchmark_group(format!("advantages, {place}"));
        for completions in SIZES {
            // Rewards and advantages.
            let bytes = 8 * completions;
            let rewards: Vec<f32> = (0..completions).map(|i| (i * 7 % 3) as f32).collect();
            let mut batches = vec![(rewards, vec![0.0; completions]); count(pool, bytes)];
            group.throughput(Throughput::Bytes(bytes as u64));
            for (name, estimator) in &estimators {
                kernel(
                    &mut group,
                    name,
                    completions,
                    &mut batches,
                    |(rewards, out)| {
                        let table = RewardTable::new(rewards, 1, 8).unwrap();
                        estimator.advantages_into(&table, out).unwrap();
                    },
                );
            }
            drop(batches);
            copies(&mut group, completions, 8, pool);
        }
        group.finish();
    }
}

fn kl(c: &mut Criterion) {
    for (place, pool) in PLACES {
        let mut group = c.benchmark_group(format!("kl, {place}"));
        for tokens in SIZES {
            let bytes = 12 * tokens;
            let fields = [noise(tokens, 0.5, 0.0), noise(tokens, 0.5, 0.1)];
            let mut batches = vec![(fields, vec![0.0; tokens]); count(pool, bytes)];
            group.throughput(Throughput::Bytes(bytes as u64));
            for (name, kl) in [("k1", Kl::K1), ("k2", Kl::K2), ("k3", Kl::K3)] {
                kernel(&mut group, name, tokens, &mut batches, |(fields, out)| {
                    let [logps, reference] = fields;
                    kl.estimate_into(logps, reference, out).unwrap();
                });
            }
            drop(batches);
            copies(&mut group, tokens, 12, pool);
        }
        group.finish();
    }
}

fn families() -> Vec<(&'static str, GrpoLoss)> {
    let clip = Clipped::default();
    let families = [
        Loss::PaperClsRl(OnPolicy {}),
        Loss::Grpo(clip),
        Loss::Bnpo(clip),
        Loss::DrGrpo(DrGrpo::default()),
        Loss::Dapo(clip),
        Loss::Cispo(Cispo::default()),
        Loss::Sapo(Sapo::default()),
        Loss::Luspo(clip),
        Loss::Vespo(Vespo::default()),
    ];
    let mut losses: Vec<_> = families
        .map(|loss| (loss.name(), GrpoLoss::new(loss)))
        .into();
    let terms = Terms {
        importance_sampling_level: ImportanceLevel::Sequence,
        ..Terms::default()
    };
    let loss = Loss::Grpo(clip);
    losses.push(("gspo", GrpoLoss { loss, terms }));
    losses
}

/// Bytes that a loss reads of each token: log-probabilities, old and reference, and the mask.
const READ: usize = 13;

fn losses(c: &mut Criterion) {
    for (place, pool) in PLACES {
        let mut group = c.benchmark_group(format!("loss_and_gradient, {place}"));
        for tokens in SIZES {
            let bytes = (READ + 4) * tokens;
            let fields = [
                noise(tokens, 0.5, 0.0),
                noise(tokens, 0.5, 0.1),
                noise(tokens, 0.4, 0.2),
            ];
            let batch = (fields, vec![true; tokens], vec![0.0; tokens]);
            let mut batches = vec![batch; count(pool, bytes)];
            let advantages = noise(tokens / LEN, 1.0, 0.3);
            group.throughput(Throughput::Bytes(bytes as u64));
            for (name, loss) in families() {
                kernel(
                    &mut group,
                    name,
                    tokens,
                    &mut batches,
                    |(fields, mask, grad)| {
                        let [logps, old, reference] = fields;
                        let batch = TokenBatch::new(LEN, logps, mask, &advantages)
                            .with_old_logps(old)
                            .with_ref_logps(reference);
                        black_box(loss.evaluate_into(&batch, grad, None).unwrap());
                    },
                );
            }
            drop(batches);
            copies(&mut group, tokens, READ + 4, pool);
        }
        group.finish();
    }
}

/// The same on burn's CPU backend: tensor operations and their backward pass, and the analytic
/// gradient as a tensor.
fn tensors(c: &mut Criterion) {
    let mut group = c.benchmark_group("loss_on_tensors");
    group.sample_size(10);
    let device = Device::flex();
    for tokens in SIZES {
        let matrix = |values: Vec<f32>| {
            Tensor::<2>::from_data(TensorData::new(values, [tokens / LEN, LEN]), &device)
        };
        let logps = matrix(noise(tokens, 0.5, 0.0));
        let advantages = noise(tokens / LEN, 1.0, 0.3);
        let advantages: Tensor<1> =
            Tensor::from_data(TensorData::new(advantages, [tokens / LEN]), &device);
        let mask = logps.clone().is_nan().bool_not();
        let batch = TensorBatch::new(logps.clone(), mask, advantages)
            .with_old_logps(matrix(noise(tokens, 0.5, 0.1)))
            .with_ref_logps(matrix(noise(tokens, 0.4, 0.2)));
        group.throughput(Throughput::Bytes(((READ + 4) * tokens) as u64));
        for (name, loss) in families()
            .into_iter()
            .filter(|(name, _)| ["paper_cls_rl", "grpo", "cispo", "vespo", "gspo"].contains(name))
        {
            group.bench_function(BenchmarkId::new(format!("{name}, autodiff"), tokens), |b| {
                b.iter(|| {
                    let leaf = logps.clone().autodiff().require_grad();
                    let batch = black_box(&batch).clone().with_logps(leaf.clone());
                    let value = visrl::grpo::tensor::loss(&loss, &batch).unwrap();
                    black_box(leaf.grad(&value.backward()))
                });
            });
            group.bench_function(BenchmarkId::new(format!("{name}, analytic"), tokens), |b| {
                b.iter(|| visrl::grpo::tensor::evaluate(&loss, black_box(&batch)).unwrap());
            });
        }
    }
    group.finish();
}

criterion_group!(benches, advantages, kl, losses, tensors);
criterion_main!(benches);
