//! No-Thinking-RL on Fashion-MNIST: a few images of each class, a direct answer, and a reward of 1
//! for a right one.
//!
//! `cargo run --release --example no_thinking_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::{FineTune, Recipe};

#[derive(Parser, Debug)]
#[command(about = "No-Thinking-RL: answer directly; 1 for a right answer, 0 for any other")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Cli::parse().flags))
}

fn run(flags: &common::Flags) -> Result<(), Box<dyn std::error::Error>> {
    let (base, train, test) = flags.load()?;
    let recipe = Recipe::no_thinking_rl();
    let settings = flags.settings(FineTune::default());
    common::announce(&recipe, &settings, flags);
    let summary = settings.reinforce(base, &recipe, &train, &test)?;
    common::show(&summary, &flags.out);
    Ok(())
}
