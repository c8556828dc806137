//! Asks a checkpoint what is in an image.
//!
//! `cargo run --release --example classify -- --image photo.png --choices "Bag,Coat,Sandal"`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Parser;
use visrl::Recipe;
use visrl::core::{Domain, Example, ImageSource, SeedStream};
use visrl::rollout::{EngineConfig, GroupRequest, NativeEngine, RolloutEngine, SamplingParams};
use visrl::vlm::FeatureStore;

#[derive(Parser, Debug)]
#[command(about = "The answer of a checkpoint to an image and a list of names")]
struct Cli {
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value = common::MODEL, hide_default_value = true)]
    model: PathBuf,
    /// Image file, PNG or JPEG.
    #[arg(long)]
    image: PathBuf,
    /// Names to choose from, separated by commas.
    #[arg(long, value_delimiter = ',', required = true)]
    choices: Vec<String>,
    /// What is asked.
    #[arg(long, default_value = "What type of object is in the photo?")]
    question: String,
    /// Think before answering, and show the thought.
    #[arg(long)]
    think: bool,
    #[command(flatten)]
    load: common::LoadFlags,
    /// Device: flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    let choices: Vec<String> = cli
        .choices
        .iter()
        .map(|name| name.trim().to_owned())
        .collect();
    common::cli::unique("--choices", &choices)?;
    let device = visrl::parse_device(&cli.device)?;
    let base = cli.load.load(&cli.model, &device)?;
    let recipe = if cli.think {
        Recipe::cls_rl()
    } else {
        Recipe::no_thinking_rl()
    };
    let example = Example {
        id: cli.image.display().to_string(),
        image: ImageSource::path(&cli.image),
        question: cli.question,
        choices,
        label: String::new(),
    };
    let prompt = Arc::new(recipe.template.render(&example));
    let inputs = base
        .encoder
        .encode_all(&base.model, std::slice::from_ref(&prompt))?;
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(1));
    let mut engine = NativeEngine::new(&base.model, tokenizer, features, EngineConfig::default());
    let groups = engine.generate(&[GroupRequest {
        prompt,
        input: Arc::clone(&inputs[0]),
        num_generations: 1,
        sampling: SamplingParams::greedy(if cli.think { 512 } else { 64 }),
        stream: SeedStream::new(0, Domain::Evaluation),
        step: 0,
        index: 0,
        choices: None,
        cancel: Default::default(),
    }])?;
    let completion = &groups[0].completions[0];
    if cli.think {
        println!("{}", completion.text);
    } else {
        println!("answer: {}", completion.text);
    }
    let probability = completion.logprobs.iter().sum::<f32>().exp();
    println!("probability of these tokens: {:.1} %", 100.0 * probability);
    if completion.stop.is_truncated() {
        println!("(cut at the length limit)");
    }
    Ok(())
}
