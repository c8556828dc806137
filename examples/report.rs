//! One HTML file about a run, a comparison or a cross-data-set table: open it in a browser.
//!
//! `cargo run --release --example report -- runs/latest`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use std::path::PathBuf;

use clap::Parser;

#[derive(Parser, Debug)]
#[command(about = "An HTML report of a folder of results")]
struct Cli {
    /// The folder of a run, of `compare` or of `cross_dataset`.
    dir: PathBuf,
    /// The file to write [default: report.html in the folder]
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(cli))
}

fn run(cli: Cli) -> Result<(), Box<dyn std::error::Error>> {
    let out = cli.out.unwrap_or_else(|| cli.dir.join("report.html"));
    visrl::report::write(&cli.dir, &out)?;
    println!("{}", out.display());
    Ok(())
}
