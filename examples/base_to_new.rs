//! Base-to-new generalisation: trained on the first half of the classes, tested on both halves.
//!
//! `cargo run --release --example base_to_new -- --recipe no_thinking_rl`
//!
//! As every run it leaves its file, `run.toml`, in its folder, and goes on with `--resume`.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::experiment::BaseToNew;
use visrl::{Registry, RunConfig};

#[derive(Parser, Debug)]
#[command(about = "Trained on half of the classes, tested on both halves")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
    /// sft, cls_rl, think_after_answer, adaptive or no_thinking_rl [default: the file's, or
    /// no_thinking_rl]
    #[arg(long, conflicts_with_all = ["config", "resume"])]
    recipe: Option<String>,
}

fn main() -> std::process::ExitCode {
    let cli: Cli = common::cli::parse();
    let recipe = match common::recipe(cli.recipe.as_deref()) {
        Ok(recipe) => recipe,
        Err(message) => return common::main(|| Err(message.into())),
    };
    common::launch(
        || cli.flags.run(recipe),
        |run, interrupt| {
            show(run, &run.base_to_new(&Registry::new(), interrupt)?);
            Ok(())
        },
    )
}

fn show(run: &RunConfig, result: &BaseToNew) {
    println!("{}", run.fine_tune.evaluation);
    println!("accuracy in %, greedy        base      new        H");
    for (name, pair) in [
        ("zero-shot", result.zero_shot),
        ("tuned on base", result.tuned),
        ("zero-shot, lenient", result.zero_shot_lenient),
        ("tuned on base, lenient", result.tuned_lenient),
    ] {
        let [base, new, harmonic] = [pair.base, pair.new, pair.harmonic()].map(|x| 100.0 * x);
        println!("{name:24} {base:8.1} {new:8.1} {harmonic:8.1}");
    }
    println!("trained in {:.0} s", result.summary.seconds);
}
