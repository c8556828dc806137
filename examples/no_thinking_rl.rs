//! No-Thinking-RL on Fashion-MNIST: a few images of each class, a direct answer, and a reward of 1
//! for a right one.
//!
//! `cargo run --release --example no_thinking_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "No-Thinking-RL: answer directly; 1 for a right answer, 0 for any other")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::no_thinking_rl(), &common::cli::parse::<Cli>().flags)
}
