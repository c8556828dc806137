//! Damaged and arbitrary files: each gives a data set or a typed error that names the file, and
//! never a panic.
#![allow(clippy::print_stdout)]

mod parquet_file;

use std::collections::BTreeSet;
use std::path::Path;

use parquet_file::{Column, Form, HUB, hub, write};
use visrl_core::SeedStream;
use visrl_data::{
    CvBenchConfig, Dataset, Error, JsonLinesConfig, MemoryDataset, ParquetConfig, ParquetLimits,
    SatConfig, Split,
};

/// Limits of a size that keeps the tests quick.
fn limits() -> ParquetLimits {
    ParquetLimits {
        rows: 1000,
        image_bytes: 1 << 16,
        page_bytes: 1 << 20,
        total_bytes: 1 << 22,
    }
}

/// Writes a new file: to cut an old one off would wait for the disk.
fn replace(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

/// The errors that a damaged file may give; each names the file.
fn check_error(error: &Error, file: &Path) {
    let message = error.to_string();
    assert!(message.starts_with(file.to_str().unwrap()), "{message}");
    assert!(
        matches!(
            error,
            Error::Parquet { .. }
                | Error::TooLarge { .. }
                | Error::Row { .. }
                | Error::ImagePath { .. }
                | Error::UnknownLabel { .. }
                | Error::Json { .. }
        ),
        "{error:?}"
    );
}

/// Damages of a file: cut at every place, every byte changed in some way, and a few at once.
fn damaged(whole: &[u8], seed: u64) -> Vec<Vec<u8>> {
    let mut rng = SeedStream::new(seed, visrl_core::Domain::Data).rng();
    let mut all: Vec<Vec<u8>> = (0..whole.len()).map(|cut| whole[..cut].to_vec()).collect();
    for place in 0..whole.len() {
        for change in [1 << rng.below(8), rng.below(255) as u8 + 1] {
            let mut bytes = whole.to_vec();
            bytes[place] ^= change;
            all.push(bytes);
        }
    }
    for _ in 0..300 {
        let mut bytes = whole.to_vec();
        for _ in 0..2 + rng.below(6) {
            let place = rng.below(bytes.len());
            bytes[place] = rng.below(256) as u8;
        }
        all.push(bytes);
    }
    all
}

#[test]
fn a_damaged_parquet_file_is_read_right_or_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = ParquetConfig {
        limits: limits(),
        ..Default::default()
    };
    let (mut cases, mut refused) = (0, 0);
    let mut kinds = BTreeSet::new();
    // One form of each compression and of each version.
    for form in Form::all().iter().step_by(4) {
        let path = folder.path().join("train.parquet");
        write(&path, HUB, &hub(3, &["pear", "<answer>fig</answer>"]), form);
        for bytes in &damaged(&std::fs::read(&path).unwrap(), 1) {
            replace(&path, bytes);
            cases += 1;
            match config.open(&path) {
                Ok(dataset) => assert_eq!(dataset.records(Split::Train).unwrap().len(), 3),
                Err(error) => {
                    check_error(&error, &path);
                    refused += 1;
                    let message = error.to_string();
                    for kind in [
                        "is compressed by",
                        "is encoded by",
                        "the footer",
                        "the page at",
                    ] {
                        kinds.extend(message.contains(kind).then_some(kind));
                    }
                }
            }
        }
    }
    println!(
        "damaged parquet files: {cases}, refused: {refused}; peak memory: {}",
        peak()
    );
    assert!(cases > 2000 && refused > cases / 2);
    assert_eq!(kinds.len(), 4, "every kind of fault was met: {kinds:?}");
}

#[test]
fn a_damaged_table_of_cv_bench_is_read_right_or_refused() {
    let schema = "message m {
        optional group image { optional binary bytes; optional binary path (UTF8); }
        optional binary task (UTF8);
        optional binary question (UTF8);
        optional binary answer (UTF8);
        optional group choices (LIST) { repeated group list { optional binary element (UTF8); } }
    }";
    let choices = ["3", "2", "1"].map(String::from).to_vec();
    let columns = [
        Column::inside((0..4).map(|i| Some(vec![i; 9]))),
        Column::inside((0..4).map(|i| Some(vec![b'a' + i]))),
        Column::texts(["Count", "Depth", "Distance", "Relation"]),
        Column::texts(["How many?"; 4]),
        Column::texts(["(A)", "(B)", "(C)", "(A)"]),
        Column::Lists(vec![choices; 4]),
    ];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("test.parquet");
    let form = Form {
        group_rows: 3,
        ..Default::default()
    };
    write(&path, schema, &columns, &form);
    let config = CvBenchConfig {
        limits: limits(),
        ..Default::default()
    };
    assert_eq!(config.open(&path).unwrap().facts().len(), 4);
    let all = damaged(&std::fs::read(&path).unwrap(), 2);
    let mut refused = 0;
    for bytes in &all {
        replace(&path, bytes);
        match config.open(&path) {
            Ok(bench) => assert_eq!(bench.records(Split::Test).unwrap().len(), 4),
            Err(error) => {
                check_error(&error, &path);
                refused += 1;
            }
        }
    }
    println!(
        "damaged tables of CV-Bench: {}, refused: {refused}",
        all.len()
    );
    assert!(all.len() > 2000 && refused > all.len() / 2);
}

/// Lines that are nearly rows: parts of good rows, strung together at random.
fn garbage(seed: u64) -> Vec<u8> {
    const PARTS: [&str; 30] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\n",
        "\\",
        "\\ud800",
        "\u{feff}",
        "null",
        "1e999",
        "-",
        "\"image\"",
        "\"label\"",
        "\"split\"",
        "\"train\"",
        "\"dev\"",
        "\"problem\"",
        "\"a/1.png\"",
        "\"../a\"",
        "\"messages\"",
        "\"images\"",
        "\"task\"",
        "\"Count\"",
        "\0",
        "é",
        "{\"image\": \"a.png\", \"label\": \"x\"}\n",
        "{\"messages\": [{\"role\": \"user\", \"content\": \"?\"}, \
         {\"role\": \"assistant\", \"content\": \"y\"}], \"images\": [\"b.png\"]}\n",
    ];
    let mut rng = SeedStream::new(seed, visrl_core::Domain::Data).rng();
    let mut bytes = Vec::new();
    for _ in 0..rng.below(12) {
        match rng.below(8) {
            0 => bytes.push(rng.below(256) as u8),
            _ => bytes.extend(PARTS[rng.below(PARTS.len())].as_bytes()),
        }
    }
    bytes
}

#[test]
fn arbitrary_lines_are_rows_or_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    let good = br#"{"image": "a/1.png", "label": "pear", "problem": "Which?", "split": "val"}
{"image": "a/2.png", "label": "fig"}
{"task": "Count", "filename": "x.png", "question": "?", "choices": ["1", "2"], "answer": "(B)"}
{"messages": [{"role": "user", "content": "<image> Q?\n(A) yes\n(B) no"},
"#;
    let mut all = damaged(good, 3);
    all.extend((0..3000).map(garbage));
    let (mut read, mut refused) = (0, 0);
    let mut note = |result: Result<MemoryDataset, Error>| match result {
        Ok(dataset) => {
            read += 1;
            let records = dataset.records(Split::Train).unwrap_or_default();
            assert!(records.iter().all(|r| r.label < dataset.classes().len()));
        }
        Err(error) => {
            check_error(&error, &path);
            refused += 1;
        }
    };
    for bytes in &all {
        replace(&path, bytes);
        note(JsonLinesConfig::default().open(&path));
        note(SatConfig::default().open(&path));
        let bench = CvBenchConfig::default().open(&path);
        note(bench.map(|bench| MemoryDataset::copy_of(&bench)));
    }
    println!(
        "files of lines: {}, read: {read}, refused: {refused}",
        3 * all.len()
    );
    assert!(all.len() > 2000 && read > 100 && refused > 2000);
}

/// The peak of resident memory so far, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |peak| peak.trim().to_owned())
}
