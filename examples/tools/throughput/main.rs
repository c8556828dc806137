//! Times sampling and GRPO steps on a checkpoint and prints one JSON line.
//!
//! `cargo run --release --example throughput -- train --model DIR --size 384 --B 1 --G 4 --new 32`
//!
//! `gen` samples `B` groups of `G` completions of `new` tokens (top-k 50, temperature 1). `train` is
//! one step on `B` groups of `G` completions of `new` random tokens: reference, forward, backward,
//! clipping and AdamW, with every parameter trained. Images are encoded anew in every repetition.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
#[path = "../../common/mod.rs"]
mod common;
mod flops;
#[path = "../operator_table.rs"]
mod operator_table;

use std::error::Error;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::{Device, Distribution, Tensor};
use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use flops::Shape;
use operator_table::profiled;
use serde_json::json;
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::grpo::GrpoLoss;
use visrl::kernels::device_memory;
use visrl::parse_device;
use visrl::rollout::{
    EngineConfig, EngineKind, GroupRequest, LocalEngine, RolloutEngine, SamplingParams,
};
use visrl::train::{LearnGroup, LearnTimes, Learner, LearnerConfig, TokenGroup};
use visrl::vlm::{FeatureStore, LoadOptions, ModelInput, ParamDtype, Pretrained, QwenVl};

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Mode {
    Gen,
    Train,
}

#[derive(Parser, Debug)]
#[command(about = "Times sampling and GRPO steps")]
struct Cli {
    mode: Mode,
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long)]
    model: PathBuf,
    /// Width and height of the images in pixels.
    #[arg(long, default_value_t = 112, value_parser = clap::value_parser!(u32).range(1..=16384))]
    size: u32,
    /// Groups.
    #[arg(long = "B", default_value_t = 4, value_parser = number(1, 65536))]
    groups: usize,
    /// Completions of each group.
    #[arg(long = "G", default_value_t = 4, value_parser = number(1, 65536))]
    completions: usize,
    /// Tokens of each completion.
    #[arg(long, default_value_t = 32, value_parser = number(1, 16777216))]
    new: usize,
    /// Samples so that a group does not depend on the groups beside it.
    #[arg(long)]
    invariant: bool,
    /// Samples each group alone, too, and counts what differs.
    #[arg(long)]
    alone: bool,
    /// Layers that `train` computes again in the backward pass; 0 keeps all activations.
    #[arg(long, default_value_t = 0, value_parser = number(0, 1024))]
    recompute: usize,
    /// Repetitions after one that warms up; the fastest counts.
    #[arg(long, default_value_t = 2, value_parser = number(1, 1048576))]
    reps: usize,
    /// Threads.
    #[arg(long, default_value_t = 2, value_parser = number(1, 1024))]
    threads: usize,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Number format of the parameters; training keeps f32 beside bf16.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Engine of `gen`.
    #[arg(long, value_enum, default_value_t = Engine::Auto)]
    engine: Engine,
    /// Prints which operators of LibTorch one more repetition calls.
    #[arg(long)]
    profile: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Engine {
    Auto,
    Native,
    Device,
}

/// A number from one to another.
fn number(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(cli.threads)
        .build_global()?;
    let device = parse_device(&cli.device)?;
    let gflops = matmul_gflops(&device);
    let options = LoadOptions {
        dtype: match cli.dtype {
            Dtype::F32 => ParamDtype::F32,
            Dtype::Bf16 => ParamDtype::Bf16,
        },
        ..LoadOptions::default()
    };
    let base = Pretrained::<QwenVl>::load_with(&cli.model, &device, &options)?;
    let config = base.model.config().clone();
    let shape = Shape(&config);
    let prompts: Vec<_> = (0..cli.groups).map(|i| prompt(i, cli.size)).collect();
    let start = Instant::now();
    let inputs = base.encoder.encode_all(&base.model, &prompts)?;
    let mut report = json!({
        "mode": format!("{:?}", cli.mode).to_lowercase(),
        "size": cli.size,
        "B": cli.groups,
        "G": cli.completions,
        "new": cli.new,
        "threads": cli.threads,
        "device": cli.device,
        "dtype": format!("{:?}", cli.dtype).to_lowercase(),
        "prompt_len": inputs[0].ids.len(),
        "preprocess_ms": millis(start),
        "matmul_gflops": gflops,
        "rss_before_mb": memory_mb("VmRSS"),
    });
    let (measured, flops, seconds) = match cli.mode {
        Mode::Gen => generate(&cli, base, &device, &prompts, &inputs, &shape)?,
        Mode::Train => train(&cli, base, &device, &inputs, &shape)?,
    };
    let total = json!({
        "peak_device_mb": peak_device_mb(&device),
        "model_gflop": flops / 1e9,
        "share_of_matmul_rate": flops / 1e9 / seconds / gflops,
        "matmul_gflops_after": matmul_gflops(&device),
    });
    for part in [measured, total] {
        if let (Some(report), Some(part)) = (report.as_object_mut(), part.as_object()) {
            report.extend(part.clone());
        }
    }
    println!("{report}");
    Ok(())
}

type Measured = (serde_json::Value, f64, f64);

fn generate(
    cli: &Cli,
    base: Pretrained<QwenVl>,
    device: &Device,
    prompts: &[Arc<Prompt>],
    inputs: &[Arc<ModelInput>],
    shape: &Shape<'_>,
) -> Result<Measured, Box<dyn Error>> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    // Nothing is kept: every repetition encodes its images.
    let features = Arc::new(FeatureStore::new(0));
    let config = EngineConfig {
        engine: match cli.engine {
            Engine::Auto => EngineKind::Auto,
            Engine::Native => EngineKind::Native,
            Engine::Device => EngineKind::Device,
        },
        batch_invariant: cli.invariant,
        ..EngineConfig::default()
    };
    let mut engine = LocalEngine::new(&base.model, tokenizer, features, config);
    let requests = |tokens: usize, step: u32| -> Vec<GroupRequest> {
        (0u32..)
            .zip(prompts.iter().zip(inputs))
            .map(|(index, (prompt, input))| GroupRequest {
                prompt: Arc::clone(prompt),
                input: Arc::clone(input),
                num_generations: cli.completions,
                sampling: SamplingParams {
                    max_new_tokens: tokens,
                    ..SamplingParams::default()
                },
                stream: SeedStream::new(1, Domain::Sampling),
                step,
                index,
                choices: None,
                cancel: Default::default(),
            })
            .collect()
    };
    let mut run = |tokens: usize, step: u32| -> Result<f64, Box<dyn Error>> {
        let requests = requests(tokens, step);
        let start = Instant::now();
        let groups = engine.generate(&requests)?;
        device.sync()?;
        let seconds = start.elapsed().as_secs_f64();
        for group in &groups {
            let longest = group.completions.iter().map(|c| c.tokens.len()).max();
            if longest != Some(tokens) {
                return Err("a whole group ended early: less work than was asked for".into());
            }
        }
        Ok(seconds)
    };
    run(2, 0)?;
    let (mut prefill, mut total) = (f64::INFINITY, f64::INFINITY);
    for step in 1..=cli.reps.max(1) as u32 {
        prefill = prefill.min(run(1, step)?);
        total = total.min(run(cli.new, step)?);
    }
    if cli.profile {
        profiled(device, || run(cli.new, 1))?;
    }
    let rows = cli.groups * cli.completions;
    let mut flops = rows as f64 * shape.head(cli.new);
    for input in inputs {
        let patches: usize = input
            .images
            .iter()
            .map(|i| i.grid.iter().product::<usize>())
            .sum();
        let prompt = input.ids.len() - 1;
        let each = shape.decoder(cli.new, prompt);
        flops += shape.vision(patches) + shape.prompt(prompt) + cli.completions as f64 * each;
    }
    let mut report = json!({
        "total_s": total,
        "prefill_s": prefill,
        "decode_s": total - prefill,
        "tok_per_s": (rows * cli.new) as f64 / total,
        "peak_rss_mb": memory_mb("VmHWM"),
    });
    if cli.alone {
        let (mut sequences, mut differ, mut tokens) = (0, 0, 0);
        for step in 0..cli.reps.max(1) as u32 {
            let requests = requests(cli.new, 100 + step);
            let together = engine.generate(&requests)?;
            for (request, group) in requests.iter().zip(&together) {
                let alone = engine.generate(std::slice::from_ref(request))?;
                let pairs = group.completions.iter().zip(&alone[0].completions);
                for (a, b) in pairs {
                    let same = a.tokens.iter().zip(&b.tokens).take_while(|(a, b)| a == b);
                    let same = same.count();
                    sequences += 1;
                    // What follows the first difference is another text.
                    let differs = a.tokens.len() != same || b.tokens.len() != same;
                    differ += usize::from(differs);
                    tokens += same + usize::from(differs);
                }
            }
        }
        report["sequences"] = json!(sequences);
        report["sequences_that_differ"] = json!(differ);
        report["tokens_to_the_first_difference"] = json!(tokens);
    }
    Ok((report, flops, total))
}

fn train(
    cli: &Cli,
    base: Pretrained<QwenVl>,
    device: &Device,
    inputs: &[Arc<ModelInput>],
    shape: &Shape<'_>,
) -> Result<Measured, Box<dyn Error>> {
    let mut rng = SeedStream::new(1, Domain::Other(1)).rng();
    let groups: Vec<LearnGroup> = inputs
        .iter()
        .map(|input| LearnGroup {
            tokens: TokenGroup {
                input: Arc::clone(input),
                completions: (0..cli.completions)
                    .map(|_| {
                        let tokens = (0..cli.new).map(|_| rng.below(600) as u32);
                        tokens.collect::<Vec<_>>()
                    })
                    .collect(),
            },
            advantages: (0..cli.completions).map(|_| rng.normal() as f32).collect(),
            truncated: vec![false; cli.completions],
            sampler_logps: None,
        })
        .collect();
    let loss = Box::new(GrpoLoss::default());
    let features = Arc::new(FeatureStore::new(0));
    let config = LearnerConfig {
        recompute: cli.recompute,
        ..LearnerConfig::default()
    };
    let mut learner = Learner::new(base.model, loss, features, config);
    let (mut total, mut cpu, mut times) = (f64::INFINITY, None, LearnTimes::default());
    for step in 0..=cli.reps.max(1) {
        let (start, before) = (Instant::now(), cpu_seconds());
        let report = learner.update(&groups, 1e-6)?;
        device.sync()?;
        let seconds = start.elapsed().as_secs_f64();
        if step > 0 && seconds < total {
            total = seconds;
            times = report.times;
            cpu = cpu_seconds()
                .zip(before)
                .map(|(after, before)| 1e3 * (after - before));
        }
    }
    let peak = memory_mb("VmHWM");
    if cli.profile {
        profiled(device, || Ok(learner.update(&groups, 1e-6)?))?;
    }
    let mut forward = 0.0;
    for input in inputs {
        let patches: usize = input
            .images
            .iter()
            .map(|i| i.grid.iter().product::<usize>())
            .sum();
        let prompt = input.ids.len() - 1;
        let each = shape.decoder(cli.new, prompt) + shape.head(cli.new);
        forward += shape.vision(patches) + shape.prompt(prompt) + cli.completions as f64 * each;
    }
    let report = json!({
        "total_ms": 1e3 * total,
        "cpu_total_ms": cpu,
        "reference_ms": 1e3 * times.reference,
        "forward_ms": 1e3 * times.forward,
        "backward_ms": 1e3 * times.backward,
        "optimizer_ms": 1e3 * times.optimizer,
        "peak_rss_mb": peak,
    });
    // The reference's forward pass, the policy's, and a backward pass of two.
    Ok((report, 4.0 * forward, total))
}

/// A question about an image of gradients and noise.
fn prompt(index: usize, size: u32) -> Arc<Prompt> {
    let kinds = ["animal", "object", "flower", "food"];
    let kind = kinds[index % kinds.len()];
    let text = format!(
        "What type of {kind} is in the photo?\n Please output the thinking process in <think> \
         </think> and final answer in <answer> </answer> tags."
    );
    let mut rng = SeedStream::new(index as u64, Domain::Other(2)).rng();
    let mut pixels = Vec::with_capacity(3 * (size * size) as usize);
    for y in 0..size {
        for x in 0..size {
            let ramp = |at: u32| f64::from(at) * 255.0 / f64::from(size);
            let wave = 127.0 + 100.0 * (f64::from(x) / 9.0 + index as f64).sin();
            for value in [ramp(x), ramp(y), wave] {
                let noise = rng.below(61) as f64 - 30.0;
                pixels.push((value + noise).clamp(0.0, 255.0) as u8);
            }
        }
    }
    let image = ImageSource::Rgb {
        name: format!("image {index}").into(),
        width: size,
        height: size,
        pixels: pixels.into(),
    };
    Arc::new(Prompt::user(format!("prompt {index}"), image, text))
}

/// The rate of a product of 1024 x 1024 matrices.
fn matmul_gflops(device: &Device) -> f64 {
    let normal = Distribution::Normal(0.0, 1.0);
    let [x, y] = [(); 2].map(|()| Tensor::<2>::random([1024, 1024], normal, device));
    let product = || black_box(x.clone().matmul(y.clone()).slice([0..1, 0..1]).into_data());
    // The best of many: the first find the processor asleep.
    let time = |_| {
        let start = Instant::now();
        product();
        start.elapsed().as_secs_f64()
    };
    let best = (0..16).map(time).fold(f64::INFINITY, f64::min);
    2.0 * 1024f64.powi(3) / best / 1e9
}

fn millis(start: Instant) -> f64 {
    1e3 * start.elapsed().as_secs_f64()
}

/// Seconds of CPU time of the process so far, over all threads, where the system tells.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // User and system time in hundredths, after the name in brackets.
    let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
    let [user, system] = [11, 12].map(|i| fields.get(i).and_then(|f| f.parse::<f64>().ok()));
    Some((user? + system?) / 100.0)
}

/// The most memory of the device that tensors have held, or that the backend's pools hold, in MB,
/// where one of them tells.
fn peak_device_mb(device: &Device) -> Option<f64> {
    let peak = device_memory(device).map(|memory| memory.peak);
    let pools = || Some(device.memory_pool_usage()?.bytes_reserved);
    Some(peak.or_else(pools)? as f64 / (1024.0 * 1024.0))
}

/// A figure of the process's memory in MB, where the system tells.
fn memory_mb(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
