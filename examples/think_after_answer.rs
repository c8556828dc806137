//! Think-After-Answer on Fashion-MNIST: the answer first and the reasons after it, so that a thought
//! cannot delay what is learnt.
//!
//! `cargo run --release --example think_after_answer`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "Think-After-Answer: answer, then give reasons; rewards for accuracy and format")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::think_after_answer(), &Cli::parse().flags)
}
