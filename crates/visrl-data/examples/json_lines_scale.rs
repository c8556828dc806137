//! What it costs to open a large data set of JSON lines and to draw four shots of each class.
//!
//! `cargo run --release -p visrl-data --example json_lines_scale -- 1000000 1000` writes a file of a
//! million rows in a thousand classes to a temporary folder, opens it, draws, and prints times and
//! (on Linux) the peak of resident memory. With a second number of 0 every row asks a question of
//! its own.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use visrl_data::{Dataset, FewShot, RowsConfig, Split};

fn main() -> Result<(), Box<dyn Error>> {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<usize>());
    let rows = numbers.next().transpose()?.unwrap_or(1_000_000);
    let classes = numbers.next().transpose()?.unwrap_or(1_000);

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("rows.jsonl");
    write_rows(&path, rows, classes)?;
    let size = std::fs::metadata(&path)?.len() as f64 / 1e6;
    println!("{rows} rows, {size:.0} MB; peak memory before: {}", peak());

    let start = Instant::now();
    let dataset = RowsConfig::default().open(&path)?;
    println!("open: {:.2?}; peak memory: {}", start.elapsed(), peak());

    let start = Instant::now();
    let drawn = FewShot::new(4, 1).draw(&dataset)?;
    let shots = drawn.records(Split::Train)?.len();
    println!(
        "draw: {:.2?}; peak memory: {}; {shots} shots of {} classes",
        start.elapsed(),
        peak(),
        drawn.classes().len()
    );
    Ok(())
}

/// Rows as ImageNet's would be, but for one picture a class; with no number of classes, ten of them
/// and a question per row.
fn write_rows(path: &Path, rows: usize, classes: usize) -> std::io::Result<()> {
    let count = if classes == 0 { 10 } else { classes };
    for class in 0..count {
        let picture = path.with_file_name(format!("train/n{class:08}/n{class:08}.JPEG"));
        std::fs::create_dir_all(picture.parent().unwrap_or(Path::new("")))?;
        File::create(picture)?;
    }
    let mut file = BufWriter::new(File::create(path)?);
    for row in 0..rows {
        let class = row * 7919 % count;
        write!(
            file,
            r#"{{"image": "train/n{class:08}/n{class:08}.JPEG", "label": "class number {class}""#
        )?;
        if classes == 0 {
            write!(file, r#", "problem": "Which is object {row}?""#)?;
        }
        writeln!(file, "}}")?;
    }
    file.flush()
}

/// The peak of resident memory so far, from the line `VmHWM` of `/proc/self/status`.
fn peak() -> String {
    std::fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| {
            let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
            let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
            Some(format!("{:.0} MB", kib as f64 * 1024.0 / 1e6))
        })
        .unwrap_or_else(|| "unknown here".into())
}
