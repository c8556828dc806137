//! Recipes side by side on one data set: few-shot accuracy, base, new and harmonic mean, completion
//! length and seconds, over several seeds.
//!
//! `cargo run --release --example compare -- --seeds 1,2,3 --out runs/compare`
//!
//! An interrupted comparison goes on where it was when it is called again.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use clap::Parser;
use visrl::core::files::{check_replaceable_json, write_file};
use visrl::experiment::{Comparison, ComparisonRow, Spread};
use visrl::{FineTune, Recipe, Registry, RunConfig};

#[derive(Parser, Debug)]
#[command(about = "Several recipes on one data set, in one table")]
struct Cli {
    #[command(flatten)]
    flags: common::Flags,
    /// The recipes, separated by commas [default: the file's, or all five]
    #[arg(long, value_delimiter = ',')]
    recipes: Vec<String>,
    /// The seeds, separated by commas.
    #[arg(long, value_delimiter = ',', default_value = "1,2,3")]
    seeds: Vec<u64>,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn std::error::Error>> {
    common::cli::unique("--recipes", &cli.recipes)?;
    common::cli::unique("--seeds", &cli.seeds)?;
    if cli.flags.measure.seed.is_some() {
        return Err("--seed: a comparison has several; give them as --seeds".into());
    }
    let mut rows = Vec::new();
    for recipe in recipes(cli)? {
        let mut run = cli.flags.run(recipe.clone())?;
        run.recipe = recipe;
        run.validate()?;
        let file = run.fine_tune.out.join("compare.json");
        let checked = check_replaceable_json::<Vec<ComparisonRow>>(&file);
        checked.map_err(|error| format!("--out: {error}"))?;
        common::announce(&run);
        let base = run.load_model()?;
        let data = run.data.open_whole(&Registry::new(), run.fine_tune.seed);
        let data = data.map_err(|error| run.of_file(error))?;
        let shots = common::shots(&run)?;
        let mut done = Vec::new();
        for &seed in &cli.seeds {
            let settings = FineTune {
                seed,
                ..run.fine_tune.clone()
            };
            let found = Comparison::run(&base, &run.recipe, &settings, &data, shots);
            let found = found.map_err(|error| run.of_file(error))?;
            println!(
                "  seed {seed}: {:.1} -> {:.1} % in {:.0} s",
                100.0 * found.few_shot.before.greedy,
                100.0 * found.few_shot.after.greedy,
                found.few_shot.seconds
            );
            done.push(found);
        }
        rows.extend(ComparisonRow::of(&done).into_iter().flatten());
        write_file(&file, &serde_json::to_vec_pretty(&rows)?)?;
    }
    if let Some(row) = rows.first() {
        println!("{}", row.evaluation);
    }
    println!("| | few-shot greedy | few-shot T = 1 | base | new | H | tokens | seconds |");
    println!("|---|---|---|---|---|---|---|---|");
    for row in rows {
        let show = |spread: &Spread| format!("{:.1} ± {:.1}", spread.mean, spread.std);
        println!(
            "| {} | {} | {} | {} | {} | {:.1} | {} | {} |",
            row.name,
            show(&row.greedy),
            show(&row.t1),
            show(&row.base),
            show(&row.new),
            row.harmonic,
            show(&row.length),
            show(&row.seconds)
        );
    }
    Ok(())
}

/// The recipes that are named, or else that of the file, or else the paper's.
fn recipes(cli: &Cli) -> Result<Vec<Recipe>, Box<dyn std::error::Error>> {
    if !cli.recipes.is_empty() {
        let named = cli.recipes.iter().map(|name| common::recipe(Some(name)));
        return Ok(named.collect::<Result<_, _>>()?);
    }
    Ok(match &cli.flags.measure.config {
        Some(file) => vec![RunConfig::from_file(file)?.recipe],
        None => Recipe::all().to_vec(),
    })
}
