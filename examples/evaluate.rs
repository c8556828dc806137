//! What a checkpoint can do: accuracy by class, strict, lenient and guided, greedy and sampled; on
//! CV-Bench by task.
//!
//! `cargo run --release --example evaluate -- --model runs/latest/model --recipe no_thinking_rl`
//!
//! With `--config FILE` the model is tested on the file's `test` data, or else on its `data`, asked
//! as its `evaluation` says, which is as its recipe asks if it says nothing; `--evaluation
//! paper_few_shot` asks as the paper.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use std::path::Path;

use clap::Parser;
use visrl::core::files::check_replaceable_json;
use visrl::experiment::{cv_bench, evaluate_with};
use visrl::rollout::SamplingParams;
use visrl::train::CvBenchAccuracy;
use visrl::vlm::{Pretrained, QwenVl};
use visrl::{DataConfig, DataSource, EvaluationPrompts, FineTune, Measured, Registry, RunConfig};

#[derive(Parser, Debug)]
#[command(about = "Evaluation of a checkpoint")]
struct Cli {
    #[command(flatten)]
    flags: common::MeasureFlags,
    /// How it was trained: sft, cls_rl, think_after_answer, adaptive or no_thinking_rl [default: the
    /// file's, or no_thinking_rl]
    #[arg(long, conflicts_with = "config")]
    recipe: Option<String>,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

/// Whether the numbers may stand in a folder: an earlier evaluation is replaced, no other file.
fn check_out(out: &Path) -> Result<(), String> {
    if out.exists() && !out.is_dir() {
        return Err(format!("--out: {} is a file: name a folder", out.display()));
    }
    let path = out.join("evaluation.json");
    let checked = check_replaceable_json::<Measured>(&path);
    checked.map_err(|error| format!("--out: {error}"))
}

fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    if let Some(out) = &cli.flags.out
        && ["run.toml", "summary.json"]
            .iter()
            .any(|name| out.join(name).exists())
    {
        let out = out.display();
        return Err(format!("--out: {out} is a run's folder, whose evaluation.json stays").into());
    }
    if let Some(out) = &cli.flags.out {
        check_out(out)?;
    }
    let run = cli.flags.run(common::recipe(cli.recipe.as_deref())?)?;
    run.validate()?;
    let base = run.load_model()?;
    let tested = run.test.as_ref().unwrap_or(&run.data);
    println!("{}", tested.source.described());
    if let DataSource::CvBench { path, options } = &tested.source {
        return by_task(&base, run.clone(), &options.open(path)?);
    }
    // A draw leaves the test split as it is.
    let whole = DataConfig {
        shots: None,
        ..tested.clone()
    };
    let data = whole.open(&Registry::new(), run.fine_tune.seed);
    let data = data.map_err(|error| run.of_file(error))?;
    let settings = FineTune {
        evaluation: run.fine_tune.evaluation.of_classes(tested.classes),
        ..run.fine_tune.clone()
    };
    let most = settings.sampling.max_new_tokens;
    let measure =
        |sampling: SamplingParams| evaluate_with(&base, &run.recipe, &settings, &data, &sampling);
    let measure = |sampling| measure(sampling).map_err(|error| run.of_file(error));
    let measured = Measured {
        greedy: measure(SamplingParams::greedy(most))?,
        t1: measure(SamplingParams {
            top_k: 0,
            max_new_tokens: most,
            ..SamplingParams::default()
        })?,
    };
    println!(
        "{} images of {}, {}",
        measured.greedy.examples,
        data_name(&data),
        settings.evaluation
    );
    for (name, found) in [("greedy", &measured.greedy), ("T = 1", &measured.t1)] {
        println!(
            "{name:8} {:5.1} % strict, {:5.1} % lenient, {:5.1} tokens, {:.1} s",
            100.0 * found.accuracy,
            100.0 * found.lenient_accuracy,
            found.completion_length,
            found.seconds
        );
        if let Some(guided) = found.guided_accuracy {
            let guided = 100.0 * guided;
            println!("         {guided:5.1} % when the answer must be one of the choices");
        }
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
        visrl::core::files::write_file(&path, &serde_json::to_vec_pretty(&measured)?)?;
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

/// CV-Bench, greedily, as its table has it.
fn by_task(
    base: &Pretrained<QwenVl>,
    run: RunConfig,
    bench: &visrl::data::CvBench,
) -> Result<(), Box<dyn std::error::Error>> {
    let greedy = SamplingParams::greedy(run.fine_tune.sampling.max_new_tokens);
    let (recipe, mut settings) = (run.recipe.for_cv_bench(), run.fine_tune);
    let asked = &mut settings.evaluation;
    if asked.prompts == EvaluationPrompts::Training && recipe.method().is_some() {
        asked.prompts = EvaluationPrompts::CvBench;
    }
    let found = cv_bench(base, &recipe, &settings, bench, &greedy)?;
    let (count, asked) = (found.evaluation.examples, &settings.evaluation);
    println!("{count} questions of CV-Bench, {asked}");
    println!(
        "                  strict  {}",
        found.evaluation.lenient_matcher
    );
    let show = |name: &str, strict: Option<f64>, lenient: Option<f64>| {
        if let (Some(strict), Some(lenient)) = (strict, lenient) {
            let (strict, lenient) = (100.0 * strict, 100.0 * lenient);
            println!("{name:16} {strict:5.1} % {lenient:7.1} %");
        }
    };
    for (strict, lenient) in found.strict.tasks.iter().zip(&found.lenient.tasks) {
        let name = strict.task.as_str();
        show(name, Some(strict.accuracy()), Some(lenient.accuracy()));
    }
    let both = |of: fn(&CvBenchAccuracy) -> Option<f64>| (of(&found.strict), of(&found.lenient));
    for (name, (strict, lenient)) in [
        ("2D", both(|found| found.plane)),
        ("3D", both(|found| found.space)),
        ("mean of both", both(|found| found.overall)),
        ("all", both(|found| found.all)),
    ] {
        show(name, strict, lenient);
    }
    println!("The mean of both is CV-Bench's own overall; the paper's overall is all.");
    Ok(())
}
