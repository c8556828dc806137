//! Measures a checkpoint: loading, encoding one image with a prompt, and decoding a group.
//!
//! `cargo run --release --example model_speed -- --model DIR` prints a line of JSON: seconds,
//! milliseconds per decoded token of the whole group, and the process's peak memory in MB (10^6
//! bytes), after loading and at the end, where the system tells it, and the device's at the end.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod operator_table;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use operator_table::profiled;
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::kernels::device_memory;
use visrl::rollout::{EngineConfig, GroupRequest, LocalEngine, RolloutEngine, SamplingParams};
use visrl::vlm::{
    FeatureStore, LoadOptions, ModelInput, ParamDtype, Pretrained, QwenVl, SharedPrompt, prefill,
};

#[derive(Parser, Debug)]
#[command(about = "Load, prefill and decode times of a checkpoint")]
struct Cli {
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value_os_t = common::assets::model(), hide_default_value = true)]
    model: PathBuf,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Number format of the parameters.
    #[arg(long, value_enum, default_value_t = Dtype::F32)]
    dtype: Dtype,
    /// Side of the image in pixels.
    #[arg(long, default_value_t = 392)]
    side: u32,
    /// Tokens of the prompt, those of the image included.
    #[arg(long, default_value_t = 300)]
    prompt_tokens: usize,
    /// Completions that are decoded together.
    #[arg(long, default_value_t = 4)]
    group: usize,
    /// Tokens decoded of each.
    #[arg(long, default_value_t = 16)]
    new_tokens: usize,
    /// How often prefill and decode are timed; the fastest counts.
    #[arg(long, default_value_t = 2)]
    repeats: usize,
    /// Prints which operators of LibTorch a prefill and a rollout call.
    #[arg(long)]
    profile: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let device = visrl::parse_device(&cli.device)?;
    let start = Instant::now();
    let options = LoadOptions {
        dtype: match cli.dtype {
            Dtype::F32 => ParamDtype::F32,
            Dtype::Bf16 => ParamDtype::Bf16,
        },
        ..LoadOptions::default()
    };
    let base = Pretrained::<QwenVl>::load_with(&cli.model, &device, &options)?;
    device.sync()?;
    let load = start.elapsed().as_secs_f64();
    let memory_load = peak_mb();

    let start = Instant::now();
    let (prompt, input) = prompt(cli, &base)?;
    let encode = start.elapsed().as_secs_f64();
    let shared = SharedPrompt {
        input: &input,
        rows: cli.group,
    };
    let encode_prompt = || -> Result<usize, Box<dyn Error>> {
        let segments = prefill(&base.model, None, &[shared])?;
        // A device may answer before it has computed.
        device.sync()?;
        Ok(segments[0].cache.prefix_len())
    };
    let prefill_s = fastest(cli.repeats, encode_prompt)?;
    if cli.profile {
        profiled(&device, encode_prompt)?;
    }

    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(1));
    let mut engine = LocalEngine::new(&base.model, tokenizer, features, EngineConfig::default());
    let mut decoded = 0;
    let mut generate = |tokens: usize| {
        let groups = engine.generate(&[GroupRequest {
            prompt: Arc::clone(&prompt),
            input: Arc::clone(&input),
            num_generations: cli.group,
            sampling: SamplingParams {
                max_new_tokens: tokens,
                ..SamplingParams::default()
            },
            stream: SeedStream::new(1, Domain::Sampling),
            step: 0,
            index: 0,
            choices: None,
            cancel: Default::default(),
        }])?;
        let lengths = groups[0].completions.iter().map(|c| c.tokens.len());
        decoded = lengths.max().unwrap_or(0);
        device.sync()?;
        Ok(())
    };
    // The first call keeps the image's features; both timed calls encode the text alone.
    generate(1)?;
    let first = fastest(cli.repeats, || generate(1))?;
    let all = fastest(cli.repeats, || generate(1 + cli.new_tokens))?;
    if cli.profile {
        profiled(&device, || generate(1 + cli.new_tokens))?;
    }
    let steps = decoded.saturating_sub(1).max(1);
    let result = serde_json::json!({
        "model": cli.model.display().to_string(),
        "device": cli.device,
        "dtype": format!("{:?}", cli.dtype).to_lowercase(),
        "load_s": round(load),
        "encode_s": round(encode),
        "prompt_tokens": input.ids.len(),
        "prefill_s": round(prefill_s),
        "group": cli.group,
        "decoded": steps,
        "decode_ms_per_token": round(1e3 * (all - first) / steps as f64),
        "peak_mb_after_load": memory_load,
        "peak_mb": peak_mb(),
        "peak_device_mb": device_memory(&device).map(|memory| memory.peak / 1_000_000),
    });
    println!("{result}");
    Ok(())
}

/// A prompt of one image and as many words as fill it up.
fn prompt(
    cli: &Cli,
    base: &Pretrained<QwenVl>,
) -> Result<(Arc<Prompt>, Arc<ModelInput>), Box<dyn Error>> {
    let pixels: Vec<u8> = (0..cli.side * cli.side)
        .map(|i| (i * 7 % 251) as u8)
        .collect();
    let image = ImageSource::Gray {
        name: "image".into(),
        width: cli.side,
        height: cli.side,
        pixels: pixels.into(),
    };
    let mut words = 1;
    loop {
        let text = " a".repeat(words);
        let prompt = Arc::new(Prompt::user("speed", image.clone(), text));
        let inputs = base
            .encoder
            .encode_all(&base.model, &[Arc::clone(&prompt)])?;
        let len = inputs[0].ids.len();
        if len >= cli.prompt_tokens {
            return Ok((prompt, Arc::clone(&inputs[0])));
        }
        words += (cli.prompt_tokens - len).div_ceil(2);
    }
}

fn fastest<T>(
    repeats: usize,
    mut run: impl FnMut() -> Result<T, Box<dyn Error>>,
) -> Result<f64, Box<dyn Error>> {
    let mut best = f64::INFINITY;
    for _ in 0..repeats.max(1) {
        let start = Instant::now();
        run()?;
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(best)
}

fn round(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// The most memory that the process has held, in MB of 10^6 bytes; Linux tells it.
fn peak_mb() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib * 1024 / 1_000_000)
}
