//! Shows what is in a data set, or in a few-shot draw or one half of it.
//!
//! ```text
//! cargo run --release --example splits -- coop DATA --set oxford_pets --shots 4 --subsample base
//! cargo run --release --example splits -- fashion assets/fashion-mnist --json | head -3
//! cargo run --release --example splits -- --data photos.jsonl --images-folder photos
//! ```
//!
//! With `--data PATH` what lies there is found out, as by the other examples. With `--json`, each row
//! of each split is a line: `{"split", "id", "place", "label", "class", "question", "parts", "images",
//! "system", "answer", "choices"}`; `parts` are the texts and images of the user's turn in order, and
//! `image` is the first.

#![allow(unreachable_pub)]

#[path = "common/data.rs"]
mod data;
#[path = "common/pipe.rs"]
mod pipe;

use std::error::Error;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use serde_json::{Value, json};
use visrl::core::{Content, ImageSource};
use visrl::data::{
    Classes, Dataset, FewShot, MemoryDataset, ParquetConfig, PromptTemplate, Record, Split,
    base_new, hold_out,
};
use visrl::image::{Limits, Raster};
use visrl::{DataKind, DataSource, Registry};

/// The seed of a run that gives none.
const RUN_SEED: u64 = 100;

#[derive(Parser, Debug)]
#[command(about = "The splits of a data set: counts, classes and rows")]
struct Cli {
    /// What kind of data set it is, in place of --data.
    #[arg(
        required_unless_present = "data",
        conflicts_with_all = ["data", "data_kind"],
        requires = "path"
    )]
    source: Option<Source>,
    /// Its folder or file; for CoOp's sets the root above their folders.
    path: Option<PathBuf>,
    #[command(flatten)]
    flags: data::DataFlags,
    /// Draw so many training images of each class (0: all).
    #[arg(long, default_value_t = 0)]
    shots: usize,
    /// Seed of the draw [default: 1] and of what is held out [default: 100, as a run's]
    #[arg(long)]
    seed: Option<u64>,
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
    let (whole, described) = open(cli)?;
    let drawn = match cli.shots {
        0 => whole,
        shots => FewShot::new(shots, cli.seed.unwrap_or(1)).draw(&whole)?,
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
        if cli.source.is_none() {
            writeln!(out, "{described}")?;
        }
        report(&data, cli.rows, &mut out)?;
    }
    Ok(out.flush()?)
}

/// The data set, and what it was taken for.
fn open(cli: &Cli) -> Result<(MemoryDataset, String), Box<dyn Error>> {
    let path = cli.path.clone().unwrap_or_default();
    let mut source = match (cli.source, &cli.flags.data) {
        (None, data) => DataSource::at(data.as_deref().unwrap_or(&path), cli.flags.data_kind)?,
        (Some(Source::Coop), _) => {
            let set = cli.flags.coop_set.ok_or("--set: name one of CoOp's sets")?;
            DataSource::Coop { path, set }
        }
        (Some(Source::Parquet), _) => DataSource::Parquet {
            path,
            options: ParquetConfig::default(),
        },
        (Some(source), _) => DataSource::at(&path, Some(source.kind()))?,
    };
    cli.flags.set(&mut source)?;
    let described = source.described();
    let data = source.open(&Registry::new())?;
    let data = match cli.flags.test_fraction {
        Some(fraction) => hold_out(&data, fraction, cli.seed.unwrap_or(RUN_SEED))?,
        None => data,
    };
    Ok((data, described))
}

impl Source {
    fn kind(self) -> DataKind {
        match self {
            Self::Coop => DataKind::Coop,
            Self::Fashion | Self::Idx => DataKind::Idx,
            Self::Folder => DataKind::ImageFolder,
            Self::JsonLines | Self::Parquet => DataKind::Rows,
            Self::CvBench => DataKind::CvBench,
            Self::Sat => DataKind::Sat,
        }
    }
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
            let row = row(data, split, record)?;
            serde_json::to_writer(&mut *out, &row)?;
            out.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A record with all that a prompt shows of it, but for a recipe's instruction.
fn row(data: &dyn Dataset, split: Split, record: &Record) -> Result<Value, Box<dyn Error>> {
    let mut example = data.example(record, Vec::new())?;
    example.choices = record.choices.as_deref().unwrap_or_default().to_vec();
    let prompt = PromptTemplate::no_instruction().render(&example);
    let turn = prompt.messages.last().into_iter();
    let mut number = 0..;
    let parts = turn.flat_map(|turn| &turn.content).map(|part| match part {
        Content::Text(text) => json!({ "text": text }),
        Content::Image(_) => json!({ "image": number.next() }),
    });
    let parts: Vec<Value> = parts.collect();
    let images: Result<Vec<Value>, _> = example.images().map(shown).collect();
    let layout = record.row.layout.as_deref();
    let mut row = json!({
        "split": split,
        "id": record.id,
        "label": record.label,
        "class": example.label,
        "image": image(&record.image),
        "question": example.question,
        "parts": parts,
        "images": images?,
        "system": layout.and_then(|layout| layout.system.as_ref()),
        "answer": example.label,
        "choices": record.choices.as_deref(),
    });
    if let Some(place) = &record.row.place {
        row["file"] = json!(place.columns.file);
        row[place.columns.unit] = json!(place.number);
    }
    Ok(row)
}

/// An image as a path, or the size of one in memory.
fn shown(image: &ImageSource) -> Result<Value, visrl::image::Error> {
    Ok(match image {
        ImageSource::Path(path) => json!(path.display().to_string()),
        ImageSource::Gray { width, height, .. } | ImageSource::Rgb { width, height, .. } => {
            json!({ "width": width, "height": height })
        }
        ImageSource::Encoded { bytes, .. } => {
            let picture = Raster::open(image, &Limits::default())?;
            json!({ "bytes": bytes.len(), "width": picture.width(), "height": picture.height() })
        }
    })
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
