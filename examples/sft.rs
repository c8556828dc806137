//! Supervised fine-tuning on the labels, with the prompts of No-Thinking-RL: what reinforcement
//! learning is compared with.
//!
//! `cargo run --release --example sft`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::{FineTune, Recipe};

#[derive(Parser, Debug)]
#[command(about = "Supervised fine-tuning on the labels")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Cli::parse().flags))
}

fn run(flags: &common::Flags) -> Result<(), Box<dyn std::error::Error>> {
    let (base, train, test) = flags.load()?;
    let recipe = Recipe::sft();
    let settings = flags.settings(FineTune::default());
    common::announce(&recipe, &settings, flags);
    let summary = settings.supervise(base, &recipe, &train, &test)?;
    common::show(&summary, &flags.out);
    Ok(())
}
