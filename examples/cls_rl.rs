//! CLS-RL on Fashion-MNIST: a few images of each class, a thought before the answer, and rewards for
//! a right answer and for the format.
//!
//! `cargo run --release --example cls_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "CLS-RL: think, then answer; rewards for accuracy and format")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::cls_rl(), &Cli::parse().flags)
}
