//! What training a model needs of memory, estimated from its `config.json` alone: before a
//! checkpoint is loaded, or downloaded.
//!
//! `cargo run --release --example memory` prints a table of the published shapes; `--model DIR` takes
//! a folder of one's own with a `config.json`.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
#[allow(dead_code)]
mod random_weights;
#[allow(dead_code)]
mod shapes;

use std::error::Error;
use std::path::PathBuf;

use clap::builder::RangedU64ValueParser;
use clap::{Parser, ValueEnum};
use shapes::Shape;
use visrl::core::files::write_dir;
use visrl::train::{MemoryPlan, MemoryShape, ParameterSize, Workload};
use visrl::vlm::{Error as ModelError, QwenVlConfig};

#[derive(Parser, Debug)]
#[command(about = "What training needs of memory, by a model's shape")]
struct Cli {
    /// Folder with a config.json; all published shapes if none is given.
    #[arg(long)]
    model: Option<PathBuf>,
    /// Number format of the model's parameters.
    #[arg(long, default_value = "bf16")]
    dtype: Dtype,
    /// Width and height of the images in pixels.
    #[arg(long, default_value_t = 384, value_parser = number(1, 1 << 14))]
    size: usize,
    /// Tokens of a prompt beside those of its image.
    #[arg(long, default_value_t = 70, value_parser = number(0, 1 << 24))]
    text: usize,
    /// Prompts of a step.
    #[arg(long = "B", default_value_t = 8, value_parser = number(1, 1 << 16))]
    prompts: usize,
    /// Completions of each prompt.
    #[arg(long = "G", default_value_t = 8, value_parser = number(1, 1 << 16))]
    completions: usize,
    /// Most tokens of a completion.
    #[arg(long, default_value_t = 1024, value_parser = number(1, 1 << 24))]
    new: usize,
    /// Prompts that are learnt from at once; 0 takes all.
    #[arg(long, default_value_t = 1, value_parser = number(0, 1 << 16))]
    micro_batch_groups: usize,
    /// Layers that are computed again together in the backward pass; 0 keeps all.
    #[arg(long, default_value_t = 1, value_parser = number(0, 1 << 10))]
    recompute: usize,
    /// Rank of the adapters of the last column.
    #[arg(long, default_value_t = 16, value_parser = number(1, 1 << 14))]
    lora_rank: usize,
    /// Without a reference policy (no KL term).
    #[arg(long)]
    no_reference: bool,
}

/// A number from one to another, as a run file bounds it.
fn number(least: u64, most: u64) -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(least..=most)
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
}

/// What is trained.
#[derive(Clone, Copy, PartialEq)]
enum Trained {
    Everything,
    LanguageModel,
    Adapters,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let mut configs = Vec::new();
    match &cli.model {
        Some(dir) => configs.push((dir.display().to_string(), QwenVlConfig::from_dir(dir)?)),
        None => {
            for shape in Shape::value_variants() {
                let name = shape.to_possible_value().unwrap_or_else(|| "".into());
                configs.push((name.get_name().to_owned(), published(*shape)?));
            }
        }
    }
    for (name, config) in &configs {
        let layers = config.text.layers;
        if cli.recompute > layers {
            let given = cli.recompute;
            return Err(format!("--recompute is {given}, and {name} has {layers} layers").into());
        }
    }
    println!("gigabytes (10^9 bytes), {cli}", cli = settings(cli));
    println!("| model | parameters | image tokens | everything | language model | adapters |");
    println!("|---|---|---|---|---|---|");
    for (name, config) in configs {
        let load = workload(cli, &config);
        let plan = |trained| MemoryPlan::of(&shape(cli, &config, trained), &load);
        let totals = [
            Trained::Everything,
            Trained::LanguageModel,
            Trained::Adapters,
        ]
        .map(|trained| format!("{:.1}", plan(trained).total() as f64 / 1e9));
        let parameters = random_weights::parameters(&config);
        let values: usize = parameters.iter().map(|(_, shape)| count(shape)).sum();
        println!(
            "| {name} | {:.2} billion | {} | {} |",
            values as f64 / 1e9,
            load.prompt_tokens - cli.text,
            totals.join(" | ")
        );
        if cli.model.is_some() {
            println!("everything: {}", plan(Trained::Everything));
            println!("language model: {}", plan(Trained::LanguageModel));
            println!("adapters: {}", plan(Trained::Adapters));
        }
    }
    Ok(())
}

fn settings(cli: &Cli) -> String {
    let at_once = match cli.micro_batch_groups {
        0 => "all prompts at once".to_owned(),
        1 => "one prompt at a time".to_owned(),
        groups => format!("{groups} prompts at once"),
    };
    let Cli {
        dtype,
        size,
        prompts,
        ..
    } = cli;
    format!(
        "{dtype:?} parameters, images of {size} x {size}, B = {prompts}, G = {}, completions of {} \
         tokens, {at_once}, recompute {}, adapters of rank {}",
        cli.completions, cli.new, cli.recompute, cli.lora_rank
    )
}

/// The configuration of a published shape, read as a checkpoint's is.
fn published(shape: Shape) -> Result<QwenVlConfig, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let dir = dir.path().join("shape");
    write_dir(&dir, |new| {
        let path = new.join("config.json");
        std::fs::write(&path, shape.config())
            .map_err(|source| visrl::core::files::FileError::io(&path, source))?;
        Ok::<_, ModelError>(())
    })?;
    Ok(QwenVlConfig::from_dir(&dir)?)
}

/// A step's batch, with images at the size that the processor gives them.
fn workload(cli: &Cli, config: &QwenVlConfig) -> Workload {
    let token = config.vision.patch_size * config.vision.merge_size;
    let side = ((cli.size as f64 / token as f64).round() as usize).max(1);
    Workload {
        prompts: cli.prompts,
        num_generations: cli.completions,
        prompt_tokens: side * side + cli.text,
        completion_tokens: cli.new,
    }
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// A model's parameters and the settings of its training.
fn shape(cli: &Cli, config: &QwenVlConfig, trained: Trained) -> MemoryShape {
    let value_bytes = match cli.dtype {
        Dtype::F32 => 4,
        Dtype::Bf16 => 2,
    };
    let mut parameters = Vec::new();
    for (name, shape) in random_weights::parameters(config) {
        let vision = name.contains("visual");
        let decoder_linear = match shape.as_slice() {
            &[outputs, inputs] if !vision && name.contains("_proj.") => {
                Some([inputs, outputs].map(|width| width as u64))
            }
            _ => None,
        };
        parameters.push(ParameterSize {
            values: count(&shape) as u64,
            value_bytes,
            trainable: match trained {
                Trained::Everything => true,
                Trained::LanguageModel => !vision,
                Trained::Adapters => false,
            },
            decoder_linear,
            keys: name.ends_with("k_proj.weight"),
        });
        if let (Trained::Adapters, Some([inputs, outputs])) = (trained, decoder_linear) {
            parameters.push(ParameterSize {
                values: cli.lora_rank as u64 * (inputs + outputs),
                value_bytes: 4,
                trainable: true,
                decoder_linear: None,
                keys: false,
            });
        }
    }
    MemoryShape {
        parameters,
        layers: config.text.layers,
        hidden_size: config.text.hidden_size,
        query_heads: config.text.heads,
        vocab_size: config.text.vocab_size,
        // Adapters are left out to have the reference.
        reference: !cli.no_reference && trained != Trained::Adapters,
        micro_batch_groups: cli.micro_batch_groups,
        head_chunk: 1024,
        recompute: cli.recompute,
    }
}
