//! Damaged files of rows, of each form in `tests/fixtures/data-forms`: a data set or a typed error
//! that names a file, and never a panic.
#![allow(clippy::print_stdout)]

mod damage;

use std::fs;
use std::path::{Path, PathBuf};

use damage::{damaged, replace};
use visrl_data::{Dataset, Error, RowsConfig, Split};

/// Files of each form are damaged so many times.
const EACH: usize = 250;

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let copied = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &copied),
            false => drop(fs::copy(&path, &copied).unwrap()),
        }
    }
}

#[test]
fn damaged_rows_are_rows_or_faults() {
    let forms = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/data-forms");
    let root = tempfile::tempdir().unwrap();
    copy(&forms, root.path());
    let (mut files, mut read, mut refused) = (0, 0, 0);
    for form in fs::read_dir(root.path()).unwrap() {
        let form = form.unwrap().path();
        if !form.is_dir() {
            continue;
        }
        let data: Vec<PathBuf> = fs::read_dir(&form)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| {
                let ending = path.extension().unwrap_or_default().to_string_lossy();
                let is_read = ["json", "jsonl", "yaml"].contains(&&*ending)
                    || ending == "parquet" && cfg!(feature = "parquet");
                is_read && !path.ends_with("expected.json")
            })
            .collect();
        let config = RowsConfig {
            images_folder: form.join("pictures").is_dir().then(|| "pictures".into()),
            ..RowsConfig::default()
        };
        for path in data {
            let whole = fs::read(&path).unwrap();
            let all = damaged(&whole, files);
            let step = (all.len() / EACH).max(1);
            for bytes in all.iter().step_by(step) {
                replace(&path, bytes);
                match config.open(&path) {
                    Ok(data) => {
                        read += 1;
                        for split in Split::ALL {
                            let records = data.records(split).unwrap_or_default();
                            assert!(records.iter().all(|r| r.label < data.classes().len()));
                        }
                    }
                    Err(error) => {
                        refused += 1;
                        let message = error.to_string();
                        let is_named = message.starts_with(root.path().to_str().unwrap());
                        assert!(
                            is_named || matches!(error, Error::Config { .. }),
                            "{message}"
                        );
                    }
                }
                files += 1;
            }
            replace(&path, &whole);
        }
    }
    println!("damaged files of rows: {files}, read: {read}, refused: {refused}");
    assert!(files > 5000 && read > 500 && refused > 2000);
}
