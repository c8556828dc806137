//! Supervised fine-tuning on the labels, with the prompts of No-Thinking-RL: what reinforcement
//! learning is compared with.
//!
//! `cargo run --release --example sft`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "Supervised fine-tuning on the labels")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::sft(), &Cli::parse().flags)
}
