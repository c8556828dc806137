//! A run by the name of a recipe, or from a file: any recipe, model and data.
//!
//! `cargo run --release --example fine_tune -- --recipe cls_rl`
//!
//! `cargo run --release --example fine_tune -- --config configs/cls_rl.toml`
//!
//! Every run leaves its own file, `run.toml`, in its folder; it repeats the run bit for bit on one
//! backend.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;

#[derive(Parser, Debug)]
#[command(about = "A fine-tuning by a recipe's name or from a file")]
struct Cli {
    /// no_thinking_rl, cls_rl, think_after_answer, adaptive or sft [default: the file's, or
    /// no_thinking_rl]
    #[arg(long, conflicts_with_all = ["config", "resume"])]
    recipe: Option<String>,
    #[command(flatten)]
    flags: common::Flags,
}

fn main() -> std::process::ExitCode {
    let cli: Cli = common::cli::parse();
    match common::recipe(cli.recipe.as_deref()) {
        Ok(recipe) => common::fine_tune(recipe, &cli.flags),
        Err(message) => common::main(|| Err(message.into())),
    }
}
