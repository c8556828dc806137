//! Each number of a run's file at its extremes: refused by file and name before a file is changed, or
//! one that a run can do with.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use toml::Value;

use super::bound::Number;
use super::schema::{NumberField, schema};
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

/// The files of a folder, but for the one that a run locks.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = paths.filter(|path| path.is_file() && !path.ends_with(".lock"));
    files
        .map(|path| (path.clone(), fs::read(path).unwrap()))
        .collect()
}

#[test]
fn every_number_of_a_run_s_file_is_in_the_table_and_the_table_has_no_other() {
    let fields = schema().numbers;
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

/// What is wrong with how a value is taken; `runs` counts those that make a run.
fn fault(field: &NumberField, value: &str, dir: &Path, runs: &mut usize) -> Option<String> {
    let out = dir.join("run");
    fs::create_dir_all(&out).unwrap();
    for earlier in ["run.toml", "metrics.jsonl", "summary.json"] {
        fs::write(out.join(earlier), "{}").unwrap();
    }
    let before = contents(&out);
    let path = dir.join("run.toml");
    fs::write(&path, file(field, value, &out)).unwrap();
    let Some(bound) = bound(&field.path) else {
        return Some("is in no table".to_owned());
    };
    let is_good = bound.holds(number(value));
    let run = match RunConfig::from_file(&path) {
        Ok(run) if is_good => run,
        Ok(_) => return Some(format!("is accepted, expected {bound}")),
        // What stands beside a good number may still be no run.
        Err(_) if is_good => return None,
        Err(error) => {
            let (error, path) = (error.to_string(), path.display().to_string());
            let is_named = error.starts_with(&path) && error.contains(&field.path.join("."));
            return (!is_named).then_some(error);
        }
    };
    *runs += 1;
    match run.run() {
        Ok(_) => {
            fs::remove_dir_all(&out).unwrap();
            None
        }
        Err(error) => {
            (contents(&out) != before).then(|| format!("{error}, and files were changed"))
        }
    }
}

#[test]
fn every_number_at_its_extremes_is_refused_before_a_file_is_changed_or_makes_a_run() {
    let dir = tempfile::tempdir().unwrap();
    let (mut values, mut runs, mut faults) = (0, 0, Vec::new());
    for field in schema().numbers {
        for value in EXTREMES {
            values += 1;
            if let Some(fault) = fault(&field, value, dir.path(), &mut runs) {
                faults.push(format!("{} = {value}: {fault}", field.path.join(".")));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        values - runs > 500 && runs > 50,
        "{runs} of {values} are runs"
    );
}
