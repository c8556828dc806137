//! Trains for a few hundred steps and tells whether memory grows.
//!
//! `cargo run --release --example soak`
//!
//! Whole steps of the main job (sampling, scoring, an update with reference and KL term) run on the
//! embedded model, or any other. Resident memory, the mean over ten steps, is printed at step 50, when
//! everything that is kept is there, and at the end; growth beyond the limit is an error.
//!
//! glibc's allocator keeps some freed memory, in an arena of each thread, and how much differs from
//! step to step. The program therefore runs itself again with one arena, of which freed memory goes
//! back to the system at once: a tensor, above 16 KiB, in any case, and the end of the rest. That
//! takes half as long again; `--as-is` leaves the allocator alone.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub, dead_code)]

#[path = "../common/mod.rs"]
mod common;

use std::collections::VecDeque;
use std::error::Error;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use visrl::Recipe;
use visrl::data::{ChoiceList, ChoiceRule, Dataset, FashionMnist, Split, few_shot};
use visrl::grpo::{GrpoLoss, ReferenceRefresh};
use visrl::rollout::{EngineConfig, NativeEngine, SamplingParams};
use visrl::train::{
    ExampleDealer, GrpoConfig, GrpoTrainer, Learner, LearnerConfig, LearningRateSchedule,
    StepContext, StepMetrics, TrainStep,
};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl, Trainable};

#[derive(Parser, Debug)]
#[command(about = "Trains for a few hundred steps and tells whether memory grows")]
struct Cli {
    /// Checkpoint folder in Hugging Face layout.
    #[arg(long, default_value_os_t = common::assets::model(), hide_default_value = true)]
    model: PathBuf,
    /// Folder with Fashion-MNIST's four IDX files.
    #[arg(long, default_value_os_t = common::assets::fashion_mnist(), hide_default_value = true)]
    data: PathBuf,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Optimizer steps.
    #[arg(long, default_value_t = 300)]
    steps: usize,
    /// The step whose memory the end is compared with.
    #[arg(long, default_value_t = 50)]
    from: usize,
    /// Prompts per step.
    #[arg(long, default_value_t = 4)]
    prompts: usize,
    /// Completions per prompt.
    #[arg(long, default_value_t = 8)]
    generations: usize,
    /// Train the vision tower, too.
    #[arg(long)]
    vision: bool,
    /// Make the policy the new reference after every so many steps.
    #[arg(long)]
    refresh: Option<u64>,
    /// Leave the allocator's settings as they are.
    #[arg(long)]
    as_is: bool,
    /// The largest growth, in percent.
    #[arg(long, default_value_t = 2.0)]
    limit: f64,
}

/// Steps over which resident memory is averaged.
const LAST: usize = 10;

/// What makes resident memory that of the program instead of the allocator's.
const ALLOCATOR: [(&str, &str); 5] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_TRIM_THRESHOLD_", "4096"),
    ("MALLOC_TOP_PAD_", "0"),
    ("MALLOC_MMAP_THRESHOLD_", "16384"),
    ("MALLOC_MMAP_MAX_", "1000000"),
];

fn main() -> ExitCode {
    let cli: Cli = common::cli::parse();
    common::main(|| if cli.as_is { run(&cli) } else { run_again() })
}

/// The same run with the allocator's settings, which are read when a process starts.
fn run_again() -> Result<(), Box<dyn Error>> {
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).arg("--as-is");
    let status = again.envs(ALLOCATOR).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("the run ended with {status}").into())
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let device = visrl::parse_device(&cli.device)?;
    let base = Pretrained::<QwenVl>::load(&cli.model, &device)?;
    let data = FashionMnist::open(&cli.data)?;
    let train = few_shot(&data, 4, 100)?;
    let choices = ChoiceList::new(ChoiceRule::All, 100);
    let dealer = ExampleDealer::new(&train, train.records(Split::Train)?, choices, 100)?;
    let recipe = Recipe::no_thinking_rl();
    let trainable = match cli.vision {
        true => Trainable::default(),
        false => Trainable::language_model(),
    };
    let features = Arc::new(FeatureStore::new(if cli.vision { 0 } else { 4096 }));
    let engine = NativeEngine::new(
        &base.model,
        Arc::clone(base.encoder.tokenizer()),
        Arc::clone(&features),
        EngineConfig::default(),
    );
    let config = LearnerConfig {
        trainable,
        reference_refresh: ReferenceRefresh {
            every: cli.refresh,
            ..ReferenceRefresh::default()
        },
        ..LearnerConfig::default()
    };
    let loss = Box::new(GrpoLoss::default());
    let mut trainer = GrpoTrainer {
        learner: Learner::new(base.model, loss, features, config),
        engine,
        encoder: base.encoder,
        template: recipe.template,
        rewards: recipe.rewards,
        config: GrpoConfig {
            prompts_per_step: cli.prompts,
            num_generations: cli.generations,
            sampling: SamplingParams {
                max_new_tokens: 8,
                ..SamplingParams::default()
            },
            schedule: LearningRateSchedule::linear(3e-4, cli.steps),
            ..GrpoConfig::default()
        },
    };
    let mut memory = Memory::default();
    let start = Instant::now();
    trainer.begin()?;
    let mut first = None;
    for step in 0..cli.steps {
        if step == cli.from.min(cli.steps) {
            first = memory.show(step);
        }
        let mut next = |count| Ok(dealer.deal(step * cli.prompts, count)?);
        memory.record(&trainer.train_step(&mut StepContext::new(step, &mut next))?);
    }
    let last = memory.show(cli.steps);
    println!(
        "{} completions in {:.0} s; in the last step {:.1} tokens on average, reward {:.2}",
        memory.steps * cli.prompts * cli.generations,
        start.elapsed().as_secs_f64(),
        memory.tokens,
        memory.reward
    );
    if let (Some(first), Some(last)) = (first, last) {
        let growth = 100.0 * (last / first - 1.0);
        println!("growth {growth:+.2} %");
        if growth > cli.limit {
            return Err(format!("memory grew by {growth:.2} %, more than {} %", cli.limit).into());
        }
    }
    Ok(())
}

/// What a run did so far.
#[derive(Debug, Default)]
struct Memory {
    steps: usize,
    /// Resident memory after each of the last steps in MB, where the system tells.
    resident: VecDeque<f64>,
    tokens: f64,
    reward: f64,
}

impl Memory {
    fn record(&mut self, metrics: &StepMetrics) {
        self.steps += 1;
        self.resident.extend(memory_mb("VmRSS"));
        if self.resident.len() > LAST {
            self.resident.pop_front();
        }
        self.tokens = metrics.completion_length;
        self.reward = metrics.reward;
    }

    /// Prints the mean resident memory of the last steps in MB, where the system tells.
    fn show(&self, step: usize) -> Option<f64> {
        let count = self.resident.len();
        let resident = (count > 0).then(|| self.resident.iter().sum::<f64>() / count as f64);
        let text = |mb: Option<f64>| mb.map_or("n/a".to_owned(), |mb| format!("{mb:.1} MB"));
        println!(
            "step {step}: resident {} in the last {count} steps, peak {}",
            text(resident),
            text(memory_mb("VmHWM"))
        );
        resident
    }
}

/// A figure of the process's memory in MB, where the system tells.
fn memory_mb(name: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with(name))?;
    let kilobytes: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes / 1024.0)
}
