//! Sampling: the sampler on a large vocabulary, and groups on the embedded model.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::rollout::{
    EngineConfig, GroupRequest, NativeEngine, RolloutEngine, Sampler, SamplingParams,
};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl};

fn sampler(c: &mut Criterion) {
    let mut group = c.benchmark_group("sampler_152k");
    let logits: Vec<f32> = (0..151_936)
        .map(|i| (i as f32 * 12.9898).sin() * 8.0)
        .collect();
    let all = SamplingParams {
        top_k: 0,
        ..SamplingParams::default()
    };
    group.throughput(Throughput::Elements(1));
    for (name, params) in [
        ("greedy", SamplingParams::greedy(1)),
        ("top_k_50", SamplingParams::default()),
        ("full", all.clone()),
        ("top_p_0.9", SamplingParams { top_p: 0.9, ..all }),
    ] {
        let mut sampler = Sampler::default();
        group.bench_function(name, |b| {
            b.iter(|| sampler.sample(black_box(&logits), &params, &[7], 0.3));
        });
    }
    group.finish();
}

/// Eight groups at several sizes: the prompt is encoded once whatever the size.
fn groups(c: &mut Criterion) {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/base");
    let base = Pretrained::<QwenVl>::load(dir, &Device::flex()).unwrap();
    let mut group = c.benchmark_group("rollout_embedded");
    group.sample_size(20);
    let pixels: Arc<[u8]> = (0..784u32).map(|i| (i % 256) as u8).collect();
    let image = ImageSource::Gray {
        name: "image".into(),
        width: 28,
        height: 28,
        pixels,
    };
    let text = "What type of object is in the photo?\nPlease choose one from list [ Bag, Coat].\n \
                Please directly output the answer.";
    let prompt = Arc::new(Prompt::user("bench", image, text));
    let prompts = vec![prompt; 8];
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    for size in [1usize, 4, 16] {
        let tokenizer = Arc::clone(base.encoder.tokenizer());
        let features = Arc::new(FeatureStore::new(16));
        let mut engine =
            NativeEngine::new(&base.model, tokenizer, features, EngineConfig::default());
        let requests: Vec<_> = (0u32..)
            .zip(prompts.iter().zip(&inputs))
            .map(|(index, (prompt, input))| GroupRequest {
                prompt: Arc::clone(prompt),
                input: Arc::clone(input),
                num_generations: size,
                sampling: SamplingParams {
                    max_new_tokens: 8,
                    ..SamplingParams::default()
                },
                stream: SeedStream::new(1, Domain::Sampling),
                step: 0,
                index,
                choices: None,
                cancel: Default::default(),
            })
            .collect();
        group.bench_function(BenchmarkId::new("eight_groups_of", size), |b| {
            b.iter(|| engine.generate(black_box(&requests)).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, sampler, groups);
criterion_main!(benches);
