//! Damaged parquet files: each gives a data set or a typed error that names the file, and never a
//! panic.
#![allow(clippy::print_stdout)]

mod damage;
mod parquet_file;

use std::collections::BTreeSet;

use damage::{check_error, damaged, replace};
use parquet_file::{Column, Form, HUB, hub, write};
use visrl_data::{CvBenchConfig, Dataset, ParquetConfig, ParquetLimits, Split};

/// Limits of a size that keeps the tests quick.
fn limits() -> ParquetLimits {
    ParquetLimits {
        rows: 1000,
        image_bytes: 1 << 16,
        page_bytes: 1 << 20,
        total_bytes: 1 << 22,
    }
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

/// The peak of resident memory so far, where the system tells.
fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.map_or("unknown".into(), |peak| peak.trim().to_owned())
}
