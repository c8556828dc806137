//! Makes the subset of Fashion-MNIST in `assets/fashion-mnist` from the full set.
//!
//! ```text
//! cargo run --release --example make_fashion_subset -- --from FULL_SET --out runs/fashion-mnist
//! ```
//!
//! `FULL_SET` is a folder with the four IDX files of Fashion-MNIST, plain or `.gz`.

#[allow(unreachable_pub)]
#[path = "../common/pipe.rs"]
mod pipe;

use std::path::PathBuf;

use clap::Parser;
use visrl_data::FashionSubset;

/// Makes a small Fashion-MNIST: so many images of each class, in file order.
#[derive(Parser)]
struct Args {
    /// The folder of the full set's four IDX files.
    #[arg(long)]
    from: PathBuf,
    /// The folder to write to; it is made if it is not there.
    #[arg(long)]
    out: PathBuf,
    /// How many training images of each class to leave out before the first one taken.
    #[arg(long, default_value_t = FashionSubset::default().train.start)]
    skip: usize,
    /// Training images taken of each class.
    #[arg(long, default_value_t = FashionSubset::default().train.len())]
    train: usize,
    /// Test images taken of each class.
    #[arg(long, default_value_t = FashionSubset::default().test.len())]
    test: usize,
}

fn main() -> std::process::ExitCode {
    let args = pipe::cli::parse();
    pipe::main(|| run(&args))
}

#[allow(clippy::print_stdout)]
fn run(args: &Args) -> Result<(), Box<dyn std::error::Error>> {
    let subset = FashionSubset {
        train: args.skip..args.skip + args.train,
        test: 0..args.test,
    };
    let name = |split, what| format!("{split}-{what}-ubyte.gz");
    let names = ["train", "t10k"].map(|s| [name(s, "images-idx3"), name(s, "labels-idx1")]);
    let mut files = names.as_flattened().iter().map(|name| args.out.join(name));
    if let Some(file) = files.find(|file| file.exists()) {
        let message = format!("--out: {} is there: it is not replaced", file.display());
        return Err(message.into());
    }
    let (train, test) = subset.write(&args.from, &args.out)?;
    println!(
        "{}: {train} training and {test} test images",
        args.out.display()
    );
    Ok(())
}
