//! A run from a file: any recipe, model and data.
//!
//! `cargo run --release --example fine_tune -- --config configs/cls_rl.toml`
//!
//! Every run leaves its own file, `run.toml`, in its folder; it repeats the run bit for bit on one
//! backend.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::Recipe;

#[derive(Parser, Debug)]
#[command(about = "A fine-tuning from a configuration file")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    common::fine_tune(Recipe::no_thinking_rl(), &Cli::parse().flags)
}
