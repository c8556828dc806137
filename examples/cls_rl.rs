//! CLS-RL on Fashion-MNIST: a few images of each class, a thought before the answer, and rewards for
//! a right answer and for the format.
//!
//! `cargo run --release --example cls_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::rollout::SamplingParams;
use visrl::{FineTune, Recipe};

#[derive(Parser, Debug)]
#[command(about = "CLS-RL: think, then answer; rewards for accuracy and format")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Cli::parse().flags))
}

fn run(flags: &common::Flags) -> Result<(), Box<dyn std::error::Error>> {
    let (base, train, test) = flags.load()?;
    let recipe = Recipe::cls_rl();
    let sampling = SamplingParams {
        max_new_tokens: 48,
        ..SamplingParams::default()
    };
    let settings = flags.settings(FineTune {
        sampling,
        ..FineTune::default()
    });
    common::announce(&recipe, &settings, flags);
    let summary = settings.reinforce(base, &recipe, &train, &test)?;
    common::show(&summary, &flags.out);
    Ok(())
}
