//! Sampling: the sampler on a large vocabulary, closed lists, shared prefixes, decoding, and what the
//! engine costs beside the model.
//!
//! Models are the embedded one and, for decoding, random weights of 33.4 million parameters.

mod still_model;

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use burn::module::{Module, Param};
use burn::nn::RmsNormConfig;
use burn::tensor::{Device, Distribution, Tensor};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::kernels;
use visrl::rollout::{
    EngineConfig, GroupRequest, NativeEngine, RolloutEngine, Sampler, SamplingParams, TokenChoices,
    score_choices,
};
use visrl::vlm::{
    DecoderInput, FeatureStore, Heads, ModelInfo, ModelInput, Output, Pretrained, QwenVl,
    QwenVlConfig, RandomWeights, Segment, SharedPrompt, VisionLanguageModel, attend, prefill,
};

use still_model::Still;

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
    // Rows of a batch, each thread with a sampler of its own.
    let params = SamplingParams::default();
    for rows in [1usize, 4, 16, 64] {
        let batch = logits.repeat(rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::new("top_k_50_batch", rows), |b| {
            b.iter(|| {
                let rows = black_box(&batch).par_chunks_exact(logits.len());
                let drawn = rows.map_init(Sampler::default, |sampler, row| {
                    sampler.sample(row, &params, &[7], 0.3)
                });
                drawn.filter(Option::is_some).count()
            });
        });
    }
    group.finish();
}

fn embedded() -> Pretrained<QwenVl> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../assets/base");
    Pretrained::load(dir, &Device::flex()).unwrap()
}

fn picture() -> ImageSource {
    let pixels: Arc<[u8]> = (0..784u32).map(|i| (i % 256) as u8).collect();
    ImageSource::Gray {
        name: "image".into(),
        width: 28,
        height: 28,
        pixels,
    }
}

fn request(prompt: &Arc<Prompt>, input: &Arc<ModelInput>, index: u32) -> GroupRequest {
    GroupRequest {
        index,
        ..GroupRequest::new(
            Arc::clone(prompt),
            Arc::clone(input),
            SeedStream::new(1, Domain::Sampling),
        )
    }
}

fn engine<M: VisionLanguageModel>(model: &M, base: &Pretrained<QwenVl>) -> NativeEngine<M> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(16));
    NativeEngine::new(model, tokenizer, features, EngineConfig::default())
}

/// Closed lists: the tokens that may follow, and whole answers with and without.
fn choices(c: &mut Criterion) {
    let base = embedded();
    let tokenizer = base.encoder.tokenizer();
    let mut group = c.benchmark_group("choices");
    for count in [10usize, 100, 1000] {
        let names: Vec<String> = (0..count).map(|i| format!("class {i} of many")).collect();
        let choices = TokenChoices::new(tokenizer, &names).unwrap();
        let begun = &choices.tokens()[count / 2][..2];
        let eos = tokenizer.eos_id();
        group.bench_function(BenchmarkId::new("tokens_after", count), |b| {
            b.iter(|| choices.after(black_box(begun), &[eos]));
        });
    }
    let text = "What type of object is in the photo?\n Please directly output the answer.";
    let prompt = Arc::new(Prompt::user("bench", picture(), text));
    let input = base
        .encoder
        .encode_all(&base.model, std::slice::from_ref(&prompt));
    let input = input.unwrap().remove(0);
    let names = ["Bag", "Coat", "Dress", "Pullover", "Sandal", "Shirt"];
    let list = Arc::new(TokenChoices::new(tokenizer, &names).unwrap());
    let mut engine = engine(&base.model, &base);
    for (name, choices) in [("free", None), ("of_six", Some(Arc::clone(&list)))] {
        let request = GroupRequest {
            num_generations: 8,
            choices,
            sampling: SamplingParams {
                max_new_tokens: 8,
                ..SamplingParams::default()
            },
            ..request(&prompt, &input, 0)
        };
        let requests = [request];
        group.bench_function(format!("eight_answers/{name}"), |b| {
            b.iter(|| engine.generate(black_box(&requests)).unwrap());
        });
    }
    group.bench_function("score_six", |b| {
        b.iter(|| score_choices(&base.model, None, black_box(&input), &list).unwrap());
    });
    group.finish();
}

/// Eight prompts of eight completions: encoded once per group, or once per completion.
fn prefixes(c: &mut Criterion) {
    let base = embedded();
    let model = base.model.valid();
    let mut group = c.benchmark_group("prefill_64_completions");
    group.sample_size(20);
    let text = "What type of object is in the photo?\nPlease choose one from list [ Bag, Coat].\n \
                Please directly output the answer.";
    let prompt = Arc::new(Prompt::user("bench", picture(), text));
    let prompts = vec![prompt; 8];
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    for (name, copies, rows) in [("shared", 1, 8), ("repeated", 8, 1)] {
        let shared = |input| SharedPrompt { input, rows };
        let all = inputs.iter().flat_map(|input| vec![&**input; copies]);
        let all: Vec<SharedPrompt<'_>> = all.map(shared).collect();
        group.bench_function(name, |b| {
            b.iter(|| prefill(&model, None, black_box(&all)).unwrap());
        });
    }
    // Whole groups of several sizes.
    let mut engine = engine(&base.model, &base);
    for size in [1usize, 4, 16] {
        let requests: Vec<_> = (0u32..)
            .zip(prompts.iter().zip(&inputs))
            .map(|(index, (prompt, input))| GroupRequest {
                num_generations: size,
                sampling: SamplingParams {
                    max_new_tokens: 8,
                    ..SamplingParams::default()
                },
                ..request(prompt, input, index)
            })
            .collect();
        group.bench_function(BenchmarkId::new("eight_groups_of", size), |b| {
            b.iter(|| engine.generate(black_box(&requests)).unwrap());
        });
    }
    group.finish();
}

/// One token of every sequence, by the number of sequences and by what they look back on.
fn decode(c: &mut Criterion) {
    let device = Device::flex();
    let config = r#"{"model_type": "qwen2_vl", "hidden_size": 512, "intermediate_size": 1408,
        "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 2,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "vocab_size": 8192, "tie_word_embeddings": true,
        "rope_scaling": {"type": "mrope", "mrope_section": [8, 12, 12]},
        "vision_start_token_id": 8185, "image_token_id": 8188, "video_token_id": 8189,
        "eos_token_id": 8178, "vision_config": {"depth": 6, "embed_dim": 256, "num_heads": 4,
        "hidden_size": 512, "mlp_ratio": 4, "patch_size": 14, "spatial_merge_size": 2,
        "temporal_patch_size": 2, "in_chans": 3}}"#;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), config).unwrap();
    let config = QwenVlConfig::from_dir(dir.path()).unwrap();
    let mut weights = RandomWeights::new(SeedStream::new(1, Domain::Other(1)).rng(), 0.02);
    let model = QwenVl::new(config, &mut weights, &device).unwrap().valid();
    let head = model.head() * 1.0;
    let mut group = c.benchmark_group("decode_33m");
    group.sample_size(20);
    for (groups, rows, prompt, own) in [
        (1usize, 1usize, 80usize, 0usize),
        (1, 4, 80, 0),
        (4, 4, 80, 0),
        (8, 8, 80, 0),
        (4, 4, 80, 256),
        (4, 4, 1024, 0),
        (4, 4, 1024, 256),
    ] {
        let run = |segments: &mut [Segment], output| {
            let tokens: usize = segments.iter().map(Segment::tokens).sum();
            let ids: Vec<u32> = (0..tokens as u32).map(|i| i * 7 % 8000).collect();
            let positions: Vec<[u32; 3]> = (0..tokens as u32).map(|i| [i % 512; 3]).collect();
            let tokens = DecoderInput {
                ids: &ids,
                positions: &positions,
                image_features: None,
            };
            model.forward(tokens, segments, output).unwrap()
        };
        let mut segments = vec![Segment::prompts(groups, prompt)];
        run(&mut segments, Output::Cache);
        let prompts = segments.remove(0);
        let mut segments: Vec<Segment> = Segment {
            cache: prompts.cache.into_prefix(),
            ..prompts
        }
        .split_groups();
        for segment in &mut segments {
            segment.rows = rows;
            segment.len = own;
        }
        if own > 0 {
            run(&mut segments, Output::Cache);
        }
        for segment in &mut segments {
            segment.len = 1;
        }
        let name = format!("{}_sequences/prompt_{prompt}/own_{own}", groups * rows);
        group.throughput(Throughput::Elements((groups * rows) as u64));
        group.bench_function(name, |b| {
            b.iter_custom(|steps| {
                let step = |segments: &mut Vec<Segment>| {
                    kernels::on_rayon_worker(&head, || {
                        let hidden = run(segments, Output::Hidden).unwrap();
                        black_box(kernels::matmul(hidden, head.clone()));
                    });
                };
                timed(steps, &segments, step)
            });
        });
    }
    group.finish();
}

/// What a decoding step of the model above consists of, each kind of work alone, for all layers and
/// the head: of 1, 16 and 64 sequences that look back on a prompt of 80 tokens.
fn decode_parts(c: &mut Criterion) {
    let device = Device::flex();
    let random = |rows: usize, columns: usize| {
        let normal = Distribution::Normal(0.0, 0.05);
        Tensor::<2>::random([rows, columns], normal, &device)
    };
    let heads = Heads {
        query: 8,
        kv: 2,
        dim: 64,
    };
    let shapes = [
        (512, 512),
        (512, 128),
        (512, 128),
        (512, 512),
        (512, 1408),
        (512, 1408),
        (1408, 512),
    ];
    let layers = (0..8).flat_map(|_| shapes);
    let weights: Vec<_> = layers
        .chain([(512, 8192)])
        .map(|(i, o)| random(i, o))
        .collect();
    let norm = RmsNormConfig::new(512).init(&device);
    let mut group = c.benchmark_group("decode_33m_parts");
    group.sample_size(20);
    for (groups, rows) in [(1usize, 1usize), (4, 4), (8, 8)] {
        let count = groups * rows;
        let id = |name: &str| BenchmarkId::new(name, count);
        let (wide, inner) = (random(count, 512), random(count, 1408));
        group.bench_function(id("products"), |b| {
            b.iter(|| {
                kernels::on_rayon_worker(&wide, || {
                    for weight in &weights {
                        let x = if weight.dims()[0] == 512 {
                            &wide
                        } else {
                            &inner
                        };
                        black_box(kernels::matmul(x.clone(), weight.clone()));
                    }
                });
            });
        });
        let narrow = random(count, 128);
        let angles: Vec<f32> = (0..count * 32).map(|i| i as f32 * 0.01).collect();
        let turn = kernels::RotationTable::new(&angles, 32);
        group.bench_function(id("norms_rotations_activations_sums"), |b| {
            b.iter(|| {
                kernels::on_rayon_worker(&wide, || {
                    for _ in 0..8 {
                        black_box(kernels::rms_norm(&norm, wide.clone()));
                        black_box(kernels::rms_norm(&norm, wide.clone()));
                        black_box(turn.apply(wide.clone()));
                        black_box(turn.apply(narrow.clone()));
                        black_box(kernels::silu_mul(inner.clone(), inner.clone()));
                        black_box(wide.clone() + wide.clone());
                        black_box(wide.clone() + wide.clone());
                    }
                    black_box(kernels::rms_norm(&norm, wide.clone()));
                });
            });
        });
        let mut segments = vec![Segment::prompts(groups, 80)];
        let pair = [(); 2].map(|()| random(80 * groups, 128));
        for layer in 0..8 {
            attend(heads, &mut segments, layer, None, pair.clone());
        }
        let prompts = segments.remove(0);
        let mut segments = Segment {
            cache: prompts.cache.into_prefix(),
            ..prompts
        }
        .split_groups();
        for segment in &mut segments {
            (segment.rows, segment.len) = (rows, 1);
        }
        group.bench_function(id("attention"), |b| {
            b.iter_custom(|steps| {
                let step = |segments: &mut Vec<Segment>| {
                    kernels::on_rayon_worker(&wide, || {
                        for layer in 0..8 {
                            let pair = [narrow.clone(), narrow.clone()];
                            let queries = Some(wide.clone());
                            black_box(attend(heads, segments, layer, queries, pair));
                        }
                    });
                };
                timed(steps, &segments, step)
            });
        });
        let logits: Vec<f32> = random(count, 8192).into_data().try_into_vec_as().unwrap();
        let params = SamplingParams::default();
        group.bench_function(id("sampling"), |b| {
            b.iter(|| {
                let rows = black_box(&logits).par_chunks_exact(8192);
                let drawn = rows.map_init(Sampler::default, |sampler, row| {
                    sampler.sample(row, &params, &[], 0.3)
                });
                drawn.filter(Option::is_some).count()
            });
        });
    }
    group.finish();
}

/// The time of so many steps, 32 at a time from the same segments on.
fn timed(steps: u64, segments: &[Segment], step: impl Fn(&mut Vec<Segment>)) -> Duration {
    let mut time = Duration::ZERO;
    for first in (0..steps).step_by(32) {
        let mut segments = segments.to_vec();
        // The first token moves the cache to memory of its own.
        step(&mut segments);
        let start = Instant::now();
        for _ in first..steps.min(first + 32) {
            step(&mut segments);
        }
        time += start.elapsed();
    }
    time
}

/// 64 sequences in 4 groups for 200 steps of a model that costs next to nothing: 16 token ids, of
/// which none ends a completion. Divide by 200 for a step.
fn scheduler(c: &mut Criterion) {
    let base = embedded();
    let device = Device::flex();
    let model = Still {
        embeddings: Param::from_tensor(Tensor::zeros([16, 4], &device)),
        info: ModelInfo {
            hidden_size: 4,
            vocab_size: 16,
            layers: 0,
            eos_token_ids: Vec::new(),
            image_token_id: u32::MAX,
            banned_ids: Vec::new(),
        },
    };
    let prompt = Arc::new(Prompt {
        id: "bench".into(),
        messages: Vec::new(),
    });
    let ids = vec![1, 2, 3];
    let input = Arc::new(ModelInput {
        positions: model.positions(&ids, &[]).unwrap(),
        ids,
        images: Vec::new(),
    });
    let mut engine = engine(&model, &base);
    let requests: Vec<_> = (0..4)
        .map(|index| GroupRequest {
            num_generations: 16,
            sampling: SamplingParams {
                max_new_tokens: 200,
                ..SamplingParams::default()
            },
            ..request(&prompt, &input, index)
        })
        .collect();
    let mut group = c.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(200));
    group.bench_function("64_sequences_200_steps", |b| {
        b.iter(|| engine.generate(black_box(&requests)).unwrap());
    });
    // The same without what is not the engine's: draws and products of as many rows.
    let mut sampler = Sampler::default();
    let (params, logits) = (SamplingParams::default(), vec![0.0; 16]);
    group.bench_function("its_64_draws_200_times", |b| {
        b.iter(|| {
            for draw in 0..64 * 200 {
                let u = f64::from(draw) / 12_800.0;
                black_box(sampler.sample(black_box(&logits), &params, &[], u));
            }
        });
    });
    group.finish();
}

criterion_group!(
    benches,
    sampler,
    choices,
    prefixes,
    decode,
    decode_parts,
    scheduler
);
criterion_main!(benches);
