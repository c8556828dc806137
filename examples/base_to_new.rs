//! Base-to-new generalisation: trained on the first half of the classes, tested on both halves.
//!
//! `cargo run --release --example base_to_new -- --recipe no_thinking_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::experiment::base_to_new;
use visrl::{Recipe, Registry};

#[derive(Parser, Debug)]
#[command(about = "Trained on half of the classes, tested on both halves")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
    /// sft, cls_rl, think_after_answer, adaptive or no_thinking_rl.
    #[arg(long, default_value = "no_thinking_rl")]
    recipe: String,
}

fn main() -> std::process::ExitCode {
    common::main(|| run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    let recipe = Recipe::named(&cli.recipe).ok_or("there is no such recipe")?;
    let run = cli.flags.run(recipe)?;
    common::announce(&run);
    let base = run.load_model()?;
    let data = run.data.source.open(&Registry::new())?;
    let shots = run.data.shots.unwrap_or(4);
    let result = base_to_new(base, &run.recipe, &run.fine_tune, &data, shots)?;
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
    Ok(())
}
