//! Scores completions with reward rules: JSON lines in, JSON lines out.
//!
//! ```text
//! echo '{"completion": "<answer>coat</answer>", "label": "Coat"}' |
//!   cargo run --release --quiet --example score -- --rules cls_rl
//! ```
//!
//! A line holds `completion` and `label`, and optionally `choices`, `question` and `id`; other
//! fields are ignored. What is written keeps the order: `line`, `id` if given, each rule's own
//! score (`null` where it could not judge) and the weighted `total`. A table goes to standard error
//! at the end.
//!
//! `--rules` takes a set by name (`no_thinking`, `cls_rl`, `cls_rl_reference`,
//! `think_after_answer`, `adaptive`), a single rule by name (`cv_bench`, `repetition_penalty`, …),
//! or a file: a JSON list of rules, or a TOML file with the same list as `rules`.

#![allow(unreachable_pub)]

#[path = "common/pipe.rs"]
mod pipe;

use std::error::Error;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Parser;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use visrl::core::files::{fault_in_line, from_json, listed_table};
use visrl::core::{Example, ImageSource};
use visrl::reward::{RewardSet, WeightedRule};

#[derive(Parser, Debug)]
#[command(about = "The scores of completions by reward rules, from JSON lines to JSON lines")]
struct Cli {
    /// The file of completions; standard input without it.
    input: Option<PathBuf>,
    /// A set's or a rule's name, or a JSON or TOML file of rules.
    #[arg(long, default_value = "cls_rl")]
    rules: String,
}

/// A line of the input.
#[derive(Deserialize)]
struct Row {
    completion: String,
    label: String,
    #[serde(default)]
    choices: Vec<String>,
    #[serde(default)]
    question: String,
    #[serde(default)]
    id: Option<String>,
}

/// A TOML file of rules.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RulesFile {
    rules: RewardSet,
}

fn main() -> std::process::ExitCode {
    let cli = pipe::cli::parse();
    pipe::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let rules = rules(&cli.rules)?;
    let (name, mut input): (String, Box<dyn BufRead>) = match &cli.input {
        Some(path) => {
            let name = path.display().to_string();
            let file = File::open(path).map_err(|error| format!("{name}: {error}"))?;
            (name, Box::new(BufReader::new(file)))
        }
        None => ("standard input".into(), Box::new(io::stdin().lock())),
    };
    let columns = columns(&rules);
    let mut tally = Tally::new(columns.len());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut line = String::new();
    for number in 1u64.. {
        line.clear();
        let fault = |error: &dyn Error| format!("{name}:{number}: {error}");
        if input.read_line(&mut line).map_err(|error| fault(&error))? == 0 {
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let row: Row = match from_json(line.as_bytes()) {
            Ok(row) => row,
            Err(error) => {
                out.flush()?;
                return Err(format!("{name}:{number}: {}", fault_in_line(&error)).into());
            }
        };
        let example = Example {
            id: row.id.clone().unwrap_or_else(|| number.to_string()),
            image: ImageSource::path(""),
            question: row.question,
            choices: row.choices,
            // As data sets read it; one without a name is judged as it is.
            label: match visrl::data::plain_label(&row.label) {
                Ok(label) => label.into_owned(),
                Err(_) => row.label,
            },
            row: Default::default(),
        };
        let scored = rules.score(&row.completion, &example);
        tally.add(&scored.scores, scored.total);
        let mut result = Map::new();
        result.insert("line".into(), json!(number));
        if let Some(id) = row.id {
            result.insert("id".into(), json!(id));
        }
        let scores = columns.iter().cloned().zip(scored.scores.iter());
        let scores: Map<_, _> = scores.map(|(name, score)| (name, json!(score))).collect();
        result.insert("scores".into(), scores.into());
        result.insert("total".into(), json!(scored.total));
        serde_json::to_writer(&mut out, &result)?;
        out.write_all(b"\n")?;
    }
    out.flush()?;
    Ok(tally.show(&columns, &mut io::stderr().lock())?)
}

/// The set of that name, the rule of that name or what the file says.
fn rules(name: &str) -> Result<RewardSet, Box<dyn Error>> {
    Ok(match name {
        "no_thinking" => RewardSet::no_thinking(),
        "cls_rl" => RewardSet::cls_rl(),
        "cls_rl_reference" => RewardSet::cls_rl_reference(),
        "think_after_answer" => RewardSet::think_after_answer(),
        "adaptive" => RewardSet::adaptive(),
        _ if name.contains(['.', '/', '\\']) => return read_rules(Path::new(name)),
        _ => {
            let rule = serde_json::from_value(json!({ "type": name }));
            let rule = rule.map_err(|error| format!("--rules `{name}`: {error}"))?;
            RewardSet::new(vec![WeightedRule { rule, weight: 1.0 }])?
        }
    })
}

fn read_rules(path: &Path) -> Result<RewardSet, Box<dyn Error>> {
    let fault = |error: &dyn Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(path).map_err(|error| fault(&error))?;
    let is_toml = path.extension().is_some_and(|ending| ending == "toml");
    if is_toml {
        let table: toml::Table = toml::from_str(&text).map_err(|error| fault(&error))?;
        let table = serde_json::to_value(table)?;
        if let Some(rule) = listed_table::<RulesFile>(&table) {
            return Err(fault(&format!("`{rule}` is a list, expected a table")).into());
        }
        let file: RulesFile = toml::from_str(&text).map_err(|error| fault(&error))?;
        return Ok(file.rules);
    }
    let list: Value = serde_json::from_str(&text).map_err(|error| fault(&error))?;
    if let Some(rule) = listed_table::<RewardSet>(&list) {
        return Err(fault(&format!("rule {rule} is a list, expected an object")).into());
    }
    Ok(serde_json::from_str(&text).map_err(|error| fault(&error))?)
}

/// The rules' names; a second rule of the same name is told apart by a number.
fn columns(rules: &RewardSet) -> Vec<String> {
    let mut columns: Vec<String> = Vec::new();
    for name in rules.names() {
        let mut column = name.to_owned();
        let mut number = 2;
        while columns.contains(&column) {
            column = format!("{name}_{number}");
            number += 1;
        }
        columns.push(column);
    }
    columns
}

/// Sums for the table at the end.
struct Tally {
    rows: u64,
    /// Of each rule and of the total: how many were scored, their sum, least and greatest.
    sums: Vec<(u64, f64, f32, f32)>,
}

impl Tally {
    fn new(rules: usize) -> Self {
        let sums = vec![(0, 0.0, f32::INFINITY, f32::NEG_INFINITY); rules + 1];
        Self { rows: 0, sums }
    }

    fn add(&mut self, scores: &[Option<f32>], total: Option<f32>) {
        self.rows += 1;
        let scores = scores.iter().copied().chain([total]);
        for (sum, score) in self.sums.iter_mut().zip(scores) {
            if let Some(score) = score {
                sum.0 += 1;
                sum.1 += f64::from(score);
                sum.2 = sum.2.min(score);
                sum.3 = sum.3.max(score);
            }
        }
    }

    fn show(&self, columns: &[String], out: &mut impl Write) -> io::Result<()> {
        let head = ["scored", "mean", "least", "most"];
        writeln!(
            out,
            "{:<28}{:>8}{:>9}{:>8}{:>8}",
            "", head[0], head[1], head[2], head[3]
        )?;
        let names = columns.iter().map(String::as_str).chain(["total"]);
        for (name, (count, sum, least, most)) in names.zip(&self.sums) {
            if *count == 0 {
                writeln!(out, "{name:<28}{count:>8}")?;
            } else {
                let mean = sum / *count as f64;
                writeln!(
                    out,
                    "{name:<28}{count:>8}{mean:>9.3}{least:>8.2}{most:>8.2}"
                )?;
            }
        }
        writeln!(out, "{} completions", self.rows)
    }
}
