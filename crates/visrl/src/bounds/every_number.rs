//! Each number of a run's file at its extremes: refused by file and name before a file is changed, or
//! one that a run can do with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use super::bound::Number;
use super::schema::{NumberField, numbers};
use super::table::{TABLE, bound, is_meant};
use crate::run_config::RunConfig;

const EXTREMES: [&str; 10] = [
    "-1",
    "0",
    "1e-40",
    "1e30",
    "1e38",
    "1e40",
    "nan",
    "inf",
    "-inf",
    "9223372036854775807",
];

/// A file with a value in the place of the number.
fn file(field: &NumberField, value: &str, out: &Path) -> String {
    let mut file = Value::try_from(&field.file).unwrap();
    let value: toml::Table = format!("value = {value}").parse().unwrap();
    let mut at = &mut file;
    for name in &field.path {
        at = match at {
            Value::Array(values) => &mut values[name.parse::<usize>().unwrap()],
            table => table.get_mut(name).unwrap(),
        };
    }
    *at = value["value"].clone();
    let run = file["fine_tune"].as_table_mut().unwrap();
    for (name, value) in [
        ("steps", 1),
        ("prompts_per_step", 1),
        ("num_generations", 2),
    ] {
        run.entry(name).or_insert(value.into());
    }
    run.entry("test_per_class").or_insert(1.into());
    run.entry("tensorboard").or_insert(false.into());
    run.entry("samples").or_insert(0.into());
    let sampling = run
        .entry("sampling")
        .or_insert(Value::Table(toml::Table::new()));
    let sampling = sampling.as_table_mut().unwrap();
    sampling.entry("max_new_tokens").or_insert(1.into());
    run.insert("out".into(), out.to_str().unwrap().into());
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let base = root.join("tests/fixtures/models/tiny-tied");
    file["model"]["path"] = base.to_str().unwrap().into();
    toml::to_string(&file).unwrap()
}

fn number(value: &str) -> Number {
    match value.parse::<i64>() {
        Ok(whole) => Number::Whole(whole.into()),
        Err(_) => Number::Real(value.parse().unwrap()),
    }
}

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_number_of_a_run_s_file_is_in_the_table_and_the_table_has_no_other() {
    let fields = numbers();
    assert!(fields.len() > 80, "{}", fields.len());
    let unknown: Vec<_> = fields
        .iter()
        .filter(|field| bound(&field.path).is_none())
        .collect();
    assert!(
        unknown.is_empty(),
        "give each of these a bound: {unknown:?}"
    );
    for (name, _) in TABLE {
        let of = |field: &NumberField| is_meant(name, &field.path);
        assert!(fields.iter().any(of), "{name} is no number of a run's file");
    }
}

#[test]
fn every_number_at_its_extremes_is_refused_before_a_file_is_changed_or_makes_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("run");
    let (mut refused, mut runs) = (0, 0);
    for field in numbers() {
        let name = field.path.join(".");
        for value in EXTREMES {
            fs::create_dir_all(&out).unwrap();
            for earlier in ["metrics.jsonl", "summary.json"] {
                fs::write(out.join(earlier), "{}").unwrap();
            }
            let before = contents(&out);
            let path = dir.path().join("run.toml");
            fs::write(&path, file(&field, value, &out)).unwrap();
            let text = format!("{name} = {value}");
            let run = match RunConfig::from_file(&path) {
                Ok(run) => run,
                Err(error) => {
                    let (error, path) = (error.to_string(), path.display());
                    assert!(error.starts_with(&format!("{path}: ")), "{text}: {error}");
                    assert!(error.contains(&name), "{text}: {error}");
                    refused += 1;
                    continue;
                }
            };
            let bound = bound(&field.path).unwrap();
            assert!(
                bound.holds(number(value)),
                "{text} is accepted, expected {bound}"
            );
            assert!(run.validate().is_ok(), "{text}");
            let found = run.run();
            match found {
                Ok(_) => fs::remove_dir_all(&out).unwrap(),
                Err(error) => {
                    let after = contents(&out);
                    assert!(after == before, "{text}: {error}, and files were changed");
                    let last = field
                        .path
                        .iter()
                        .rev()
                        .find(|part| part.parse::<u8>().is_err());
                    let is_named = error.to_string().contains(last.unwrap().as_str());
                    assert!(is_named || field.path[0] == "test", "{text}: {error}");
                }
            }
            runs += 1;
        }
    }
    assert!(
        refused > 500 && runs > 100,
        "{refused} are refused, {runs} are runs"
    );
}
