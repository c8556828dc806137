//! What a checkpoint can do: accuracy by class, strict and lenient, greedy and sampled.
//!
//! `cargo run --release --example evaluate -- --model runs/latest/model --recipe no_thinking_rl`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::experiment::evaluate_with;
use visrl::rollout::SamplingParams;
use visrl::{Measured, Recipe};

#[derive(Parser, Debug)]
#[command(about = "Evaluation of a checkpoint")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
    /// How it is asked: sft, cls_rl, think_after_answer, adaptive or no_thinking_rl.
    #[arg(long, default_value = "no_thinking_rl")]
    recipe: String,
}

fn main() -> std::process::ExitCode {
    common::exit(run(&Cli::parse()))
}

fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    let recipe = Recipe::named(&cli.recipe).ok_or("there is no such recipe")?;
    let run = cli.flags.run(recipe)?;
    let base = run.load_model()?;
    let data = run.data.source.open()?;
    let most = run.fine_tune.sampling.max_new_tokens;
    let measure = |sampling: SamplingParams| {
        evaluate_with(&base, &run.recipe, &run.fine_tune, &data, &sampling)
    };
    let measured = Measured {
        greedy: measure(SamplingParams::greedy(most))?,
        t1: measure(SamplingParams {
            top_k: 0,
            max_new_tokens: most,
            ..SamplingParams::default()
        })?,
    };
    println!(
        "{} test images of {}",
        measured.greedy.examples,
        data_name(&data)
    );
    for (name, found) in [("greedy", &measured.greedy), ("T = 1", &measured.t1)] {
        println!(
            "{name:8} {:5.1} % strict, {:5.1} % lenient, {:5.1} tokens, {:.1} s",
            100.0 * found.accuracy,
            100.0 * found.lenient_accuracy,
            found.completion_length,
            found.seconds
        );
        if let Some(agreement) = &found.agreement {
            println!(
                "         thought and answer agree in {:.1} % of {}",
                100.0 * agreement.share,
                agreement.compared
            );
        }
    }
    for class in &measured.greedy.classes {
        println!(
            "{:24} {:5.1} % of {}",
            class.class,
            100.0 * class.accuracy(),
            class.examples
        );
    }
    if let Some(out) = &cli.flags.out {
        let path = out.join("evaluation.json");
        visrl::vlm::write_file_atomically(&path, &serde_json::to_vec_pretty(&measured)?)?;
        println!(
            "all numbers, with the confusion matrix, in {}",
            path.display()
        );
    }
    Ok(())
}

fn data_name(data: &dyn visrl::data::Dataset) -> &str {
    data.name()
}
