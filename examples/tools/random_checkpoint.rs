//! Writes a checkpoint of random weights, one tensor at a time: a model of any size to measure
//! with, in little memory.
//!
//! `cargo run --release --example random_checkpoint -- --shape qwen2-vl-2b --tokenizer DIR
//! --dtype bf16 --out DIR` makes one of the published shape (4.4 GB), and `--like DIR` one of the
//! shape of another folder.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
#[path = "../common/mod.rs"]
mod common;
mod random_weights;
#[allow(dead_code)]
mod shapes;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use random_weights::random_weights;
use shapes::Shape;
use visrl::core::files::{FileError, write_dir};
use visrl::vlm::{SaveDtype, SaveOptions};

#[derive(Parser, Debug)]
#[command(about = "A checkpoint of random weights in Hugging Face layout")]
struct Cli {
    /// Folder whose config.json and other files are taken.
    #[arg(long, conflicts_with = "shape", required_unless_present = "shape")]
    like: Option<PathBuf>,
    /// A published shape.
    #[arg(long, requires = "tokenizer")]
    shape: Option<Shape>,
    /// Folder with the tokenizer files and the chat template for `--shape`.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Number format of the weights.
    #[arg(long, default_value = "bf16")]
    dtype: Dtype,
    /// The most gigabytes (10^9 bytes) of a file.
    #[arg(long, default_value_t = 5.0)]
    shard_gb: f64,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to be written.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    if cli.shard_gb.is_nan() || cli.shard_gb <= 0.0 {
        return Err("--shard-gb must be more than 0".into());
    }
    let options = SaveOptions {
        dtype: match cli.dtype {
            Dtype::F32 => SaveDtype::F32,
            Dtype::Bf16 => SaveDtype::Bf16,
            Dtype::F16 => SaveDtype::F16,
        },
        max_shard_bytes: (cli.shard_gb * 1e9) as u64,
    };
    common::cli::empty_folder("--out", &cli.out)?;
    let mut values = 0;
    write_dir(&cli.out, |new| {
        small_files(&cli, new)?;
        values = random_weights(new, cli.seed, options)?;
        Ok::<_, visrl::vlm::Error>(())
    })?;
    println!("{values} parameters in {}", cli.out.display());
    Ok(())
}

/// Everything but the weights.
fn small_files(cli: &Cli, new: &Path) -> Result<(), visrl::vlm::Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError::io(&path, source)
    };
    let from = cli.like.as_ref().or(cli.tokenizer.as_ref());
    if let Some(dir) = from {
        for entry in fs::read_dir(dir).map_err(failed(dir))? {
            let path = entry.map_err(failed(dir))?.path();
            let name = path.file_name().unwrap_or_default();
            let text = name.to_string_lossy();
            let is_weights = text.contains("safetensors");
            let is_small = ["json", "jinja", "txt"]
                .iter()
                .any(|end| text.ends_with(end));
            if is_small && !is_weights && !text.starts_with("golden") {
                fs::copy(&path, new.join(name)).map_err(failed(&path))?;
            }
        }
    }
    if let Some(shape) = cli.shape {
        let path = new.join("config.json");
        fs::write(&path, shape.config()).map_err(failed(&path))?;
        shape.processor().save(new)?;
    }
    Ok(())
}
