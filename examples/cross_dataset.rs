//! Trained on each data set, tested on all: does fine-tuning on one help on another? The second data
//! set is drawn by code and has nothing in common with the first.
//!
//! `cargo run --release --example cross_dataset`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::core::files::{check_replaceable_json, write_file};
use visrl::experiment::{CrossMatrix, cross_dataset};
use visrl::{DrawnShapes, Registry};

#[derive(Parser, Debug)]
#[command(about = "The matrix of gains over data sets")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
    /// sft, cls_rl, think_after_answer, adaptive or no_thinking_rl [default: the file's, or
    /// no_thinking_rl]
    #[arg(long, conflicts_with = "config")]
    recipe: Option<String>,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    let run = cli.flags.run(common::recipe(cli.recipe.as_deref())?)?;
    run.validate()?;
    let file = run.fine_tune.out.join("cross_dataset.json");
    check_replaceable_json::<CrossMatrix>(&file).map_err(|error| format!("--out: {error}"))?;
    common::announce(&run);
    let base = run.load_model()?;
    let fashion = run.data.open_whole(&Registry::new(), run.fine_tune.seed);
    let fashion = fashion.map_err(|error| run.of_file(error))?;
    let shapes = DrawnShapes::default().draw()?;
    let shots = common::shots(&run)?;
    let matrix = cross_dataset(
        &base,
        &run.recipe,
        &run.fine_tune,
        &[&fashion, &shapes],
        shots,
    );
    let matrix = matrix.map_err(|error| run.of_file(error))?;
    let out = &run.fine_tune.out;
    write_file(&file, &serde_json::to_vec_pretty(&matrix)?)?;
    print!("{:24}", "accuracy in %, greedy");
    matrix.datasets.iter().for_each(|name| print!("{name:>16}"));
    print!("\n{:24}", "zero-shot");
    matrix
        .zero_shot
        .iter()
        .for_each(|x| print!("{:16.1}", 100.0 * x));
    println!();
    let rows = matrix
        .datasets
        .iter()
        .zip(&matrix.accuracy)
        .zip(matrix.gains());
    for ((name, row), gains) in rows {
        print!("{:24}", format!("tuned on {name}"));
        for (accuracy, gain) in row.iter().zip(gains) {
            print!(
                "{:>16}",
                format!("{:.1} ({:+.1})", 100.0 * accuracy, 100.0 * gain)
            );
        }
        println!();
    }
    if let Some(gain) = matrix.mean_transfer() {
        println!("mean gain on data not trained on: {:+.1}", 100.0 * gain);
    }
    println!("all {}", matrix.evaluation);
    println!("runs and cross_dataset.json in {}", out.display());
    Ok(())
}
