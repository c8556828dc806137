//! Shows what is in a data set, or in a few-shot draw or one half of it.
//!
//! ```text
//! cargo run --release --example splits -- coop DATA --set oxford_pets --shots 4 --subsample base
//! cargo run --release --example splits -- fashion assets/fashion-mnist --json | head -3
//! ```
//!
//! With `--json`, each row of each split is a line: `{"split", "id", "label", "class", "image"}`,
//! and `question` where a row has its own.

#![allow(unreachable_pub)]

#[path = "common/pipe.rs"]
mod pipe;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde_json::json;
use visrl::core::ImageSource;
use visrl::data::{
    Classes, CoopSet, CvBenchConfig, Dataset, FashionMnist, FewShot, IdxConfig, ImageFolderConfig,
    JsonLinesConfig, MemoryDataset, ParquetConfig, Record, SatConfig, Split, base_new,
};

#[derive(Parser, Debug)]
#[command(about = "The splits of a data set: counts, classes and rows")]
struct Cli {
    /// What kind of data set it is.
    source: Source,
    /// Its folder or file; for CoOp's sets the root above their folders.
    path: PathBuf,
    /// Which of CoOp's sets, by its folder's name.
    #[arg(long)]
    set: Option<String>,
    /// The class names of IDX files in label order, separated by commas.
    #[arg(long, value_delimiter = ',')]
    classes: Vec<String>,
    /// Draw so many training images of each class (0: all).
    #[arg(long, default_value_t = 0)]
    shots: usize,
    /// Seed of the draw.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Which of the classes.
    #[arg(long, value_enum, default_value_t = Subsample::All)]
    subsample: Subsample,
    /// How many of the first rows of each split to show.
    #[arg(long, default_value_t = 3)]
    rows: usize,
    /// Write all rows as JSON lines instead.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Source {
    /// One of CoOp's eleven sets.
    Coop,
    /// Fashion-MNIST's four IDX files.
    Fashion,
    /// Four IDX files with other classes.
    Idx,
    /// A folder of images, one folder a class.
    Folder,
    /// A file of JSON lines.
    JsonLines,
    /// A parquet file, or a folder of them.
    Parquet,
    /// CV-Bench's parquet files.
    CvBench,
    /// A JSON file of SAT.
    Sat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Subsample {
    All,
    Base,
    New,
}

fn main() -> std::process::ExitCode {
    let cli = pipe::cli::parse();
    pipe::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let whole = open(cli)?;
    let drawn = match cli.shots {
        0 => MemoryDataset::copy_of(whole.as_ref())?,
        shots => FewShot::new(shots, cli.seed).draw(whole.as_ref())?,
    };
    let classes = match cli.subsample {
        Subsample::All => Classes::All,
        Subsample::Base => Classes::Base,
        Subsample::New => Classes::New,
    };
    let data = base_new(&drawn, classes)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    if cli.json {
        lines(&data, &mut out)?;
    } else {
        report(&data, cli.rows, &mut out)?;
    }
    Ok(out.flush()?)
}

fn open(cli: &Cli) -> Result<Box<dyn Dataset>, Box<dyn Error>> {
    Ok(match cli.source {
        Source::Coop => {
            let name = cli.set.as_deref().unwrap_or_default();
            let set = CoopSet::ALL.into_iter().find(|set| set.folder() == name);
            let set = set.ok_or_else(|| {
                let known = CoopSet::ALL.map(CoopSet::folder).join(", ");
                format!("--set `{name}` is none of {known}")
            })?;
            Box::new(set.open(&cli.path)?)
        }
        Source::Fashion => Box::new(FashionMnist::open(&cli.path)?),
        Source::Idx => {
            let config = IdxConfig {
                name: "idx".into(),
                classes: cli.classes.clone(),
                ..FashionMnist::config()
            };
            Box::new(config.open(&cli.path)?)
        }
        Source::Folder => Box::new(ImageFolderConfig::default().open(&cli.path)?),
        Source::JsonLines => Box::new(JsonLinesConfig::default().open(&cli.path)?),
        Source::Parquet => Box::new(ParquetConfig::default().open(&cli.path)?),
        Source::CvBench => Box::new(CvBenchConfig::default().open(&cli.path)?),
        Source::Sat => Box::new(SatConfig::default().open(&cli.path)?),
    })
}

/// The splits that the data set has.
fn splits(data: &dyn Dataset) -> impl Iterator<Item = (Split, &[Record])> {
    let records = |split| Some((split, data.records(split).ok()?));
    Split::ALL.into_iter().filter_map(records)
}

fn report(data: &dyn Dataset, rows: usize, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    let classes = data.classes();
    writeln!(out, "{}: {} classes", data.name(), classes.len())?;
    writeln!(out, "question: {}", data.question())?;
    let mut counts = Vec::new();
    for (split, records) in splits(data) {
        let mut count = vec![0usize; classes.len()];
        for record in records {
            *count
                .get_mut(record.label)
                .ok_or("a label without a class")? += 1;
        }
        writeln!(out, "{split}: {} images", records.len())?;
        for record in records.iter().take(rows) {
            let class = &classes[record.label];
            writeln!(out, "  {} = {class} ({})", record.id, image(&record.image))?;
        }
        counts.push((split, count));
    }
    write!(out, "\n{:>5}  {:<32}", "label", "class")?;
    for (split, _) in &counts {
        write!(out, "{:>8}", split.as_str())?;
    }
    writeln!(out)?;
    for (label, class) in classes.iter().enumerate() {
        write!(out, "{label:>5}  {class:<32}")?;
        for (_, count) in &counts {
            write!(out, "{:>8}", count[label])?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn lines(data: &dyn Dataset, out: &mut impl Write) -> Result<(), Box<dyn Error>> {
    for (split, records) in splits(data) {
        for record in records {
            let mut row = json!({
                "split": split,
                "id": record.id,
                "label": record.label,
                "class": data.classes().get(record.label),
                "image": image(&record.image),
            });
            if let Some(question) = &record.question {
                row["question"] = json!(question);
            }
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// Where an image is, or its size.
fn image(image: &ImageSource) -> String {
    match image {
        ImageSource::Path(path) => path.display().to_string(),
        ImageSource::Encoded { bytes, .. } => format!("{} bytes", bytes.len()),
        ImageSource::Gray { width, height, .. } => format!("{width} x {height} grey"),
        ImageSource::Rgb { width, height, .. } => format!("{width} x {height} RGB"),
    }
}
