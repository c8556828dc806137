//! Damaged and arbitrary lists: each gives a data set or a typed error that names the file, and
//! never a panic.
#![allow(clippy::print_stdout)]

mod damage;

use damage::{check_error, damaged, replace};
use visrl_core::SeedStream;
use visrl_data::{CvBenchConfig, Dataset, Error, MemoryDataset, RowsConfig, SatConfig, Split};

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

/// Rows that can be read, one file in three with something else among them.
fn rows(seed: u64) -> Vec<u8> {
    let mut rng = SeedStream::new(seed, visrl_core::Domain::Data).rng();
    let mut bytes = Vec::new();
    for _ in 0..1 + rng.below(5) {
        let (picture, label) = (rng.below(9), ["fig", "pear"][rng.below(2)]);
        let line = format!("{{\"image\": \"a/{picture}.png\", \"label\": \"{label}\"}}\n");
        bytes.extend(line.as_bytes());
    }
    if rng.below(3) == 0 {
        bytes.extend(garbage(seed));
    }
    bytes
}

#[test]
fn arbitrary_lines_are_rows_or_faults() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.jsonl");
    // Opening looks whether pictures are there, not into them.
    std::fs::create_dir(folder.path().join("a")).unwrap();
    for picture in 0..9 {
        std::fs::write(folder.path().join(format!("a/{picture}.png")), "").unwrap();
    }
    let good = br#"{"image": "a/1.png", "label": "pear", "problem": "Which?", "split": "val"}
{"image": "a/2.png", "label": "fig"}
{"task": "Count", "filename": "x.png", "question": "?", "choices": ["1", "2"], "answer": "(B)"}
{"messages": [{"role": "user", "content": "<image> Q?\n(A) yes\n(B) no"},
"#;
    let mut all = damaged(good, 3);
    all.extend((0..3000).map(garbage));
    all.extend((0..600).map(rows));
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
        note(RowsConfig::default().open(&path));
        note(SatConfig::default().open(&path));
        let bench = CvBenchConfig::default().open(&path);
        note(bench.and_then(|bench| MemoryDataset::copy_of(&bench)));
    }
    println!(
        "files of lines: {}, read: {read}, refused: {refused}",
        3 * all.len()
    );
    assert!(all.len() > 2000 && read > 100 && refused > 2000);
}
