//! Adaptive-Thinking on Fashion-MNIST: the model chooses whether to think before it answers.
//!
//! `cargo run --release --example adaptive`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "Adaptive-Thinking: think or not; rewards for accuracy and either format")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::adaptive(), &Cli::parse().flags)
}
