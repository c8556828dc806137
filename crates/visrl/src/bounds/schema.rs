//! Every number and every table that a run's file may hold, found by asking its reader: a field that is none is
//! refused with the names of those that are, so no list of them can go stale.

use serde_json::{Map, Value, json};

use crate::run_config::RunConfig;

/// No name of anything.
const NONE: &str = "?";

/// A number of a run's file, and a file that holds it.
#[derive(Debug)]
pub(super) struct NumberField {
    pub(super) path: Vec<String>,
    /// With a 1 in its place, and what its table needs beside it.
    pub(super) file: Value,
}

/// A small run that sets nothing it need not.
pub(super) fn plain() -> Value {
    json!({
        "recipe": crate::recipe::Recipe::no_thinking_rl(),
        "model": { "path": "assets/base" },
        "data": {
            "source": { "kind": "drawn_shapes", "options": { "side": 28, "train": 1, "test": 1 } }
        },
        "fine_tune": {},
    })
}

/// What a run's file may hold.
#[derive(Default)]
pub(super) struct Schema {
    pub(super) numbers: Vec<NumberField>,
    /// Tables by their full names, and a file that holds each of them.
    pub(super) tables: Vec<(Vec<String>, Value)>,
}

/// All that a run's file may hold.
pub(super) fn schema() -> Schema {
    let mut found = Schema::default();
    explore(&plain(), &[], &mut found);
    found
}

fn read(file: &Value) -> Result<(), String> {
    let run = serde_json::from_value::<RunConfig>(file.clone());
    run.map(drop).map_err(|error| error.to_string())
}

/// The names in backticks behind `expected` of an error.
fn names(error: &str) -> Vec<String> {
    let expected = error.split_once("expected").map_or("", |(_, after)| after);
    let mut parts = expected.split('`');
    let mut names = Vec::new();
    while let (Some(_), Some(name)) = (parts.next(), parts.next()) {
        names.push(name.to_owned());
    }
    names
}

/// A file with a value at a place; tables and lists on the way are made.
fn with(file: &Value, path: &[String], value: Value) -> Value {
    let Some((name, below)) = path.split_first() else {
        return value;
    };
    let mut file = match (file, name.as_str()) {
        (Value::Object(_) | Value::Array(_), _) => file.clone(),
        (_, "0") => json!([]),
        _ => json!({}),
    };
    match &mut file {
        Value::Array(list) => {
            let place: usize = name.parse().unwrap();
            list.resize(list.len().max(place + 1), Value::Null);
            list[place] = with(&list[place], below, value);
        }
        Value::Object(fields) => {
            let inner = fields.get(name).cloned().unwrap_or_default();
            fields.insert(name.clone(), with(&inner, below, value));
        }
        _ => unreachable!(),
    }
    file
}

fn below(path: &[String], name: &str) -> Vec<String> {
    [path, &[name.to_owned()]].concat()
}

/// Finds the numbers at a place of a file and below.
fn explore(file: &Value, path: &[String], found: &mut Schema) {
    let mut table = Map::new();
    table.insert(NONE.into(), json!(0));
    let asked = with(file, path, Value::Object(table));
    let Err(error) = read(&asked) else {
        // A map by names, where it holds numbers.
        let name = below(path, NONE);
        if read(&with(file, &name, json!("text"))).is_err_and(|e| e.contains("invalid type")) {
            add(file, name, found);
        }
        return;
    };
    let tag = ["type", "kind"]
        .into_iter()
        .find(|tag| error.contains(&format!("field `{tag}`")));
    if error.contains("unknown field `?`") {
        explore_fields(file, path, &error, found);
    } else if error.contains("unknown variant `?`") {
        // Kinds that hold each other are looked into once.
        for variant in names(&error)
            .into_iter()
            .filter(|name| !path.contains(name))
        {
            explore(&with(file, path, json!({})), &below(path, &variant), found);
        }
    } else if let Some(tag) = tag.filter(|_| error.contains("missing")) {
        let variants = read(&with(file, path, json!({ tag: NONE }))).unwrap_err();
        for variant in names(&variants) {
            explore_kind(with(file, path, json!({ tag: variant })), path, found);
        }
    } else if error.contains("expected a number or a list of numbers") {
        add(file, path.to_owned(), found);
        add(file, below(path, "0"), found);
    } else if ["f64", "f32", "usize", "u64", "u32"]
        .iter()
        .any(|kind| error.contains(&format!("invalid type: map, expected {kind}")))
    {
        add(file, path.to_owned(), found);
    } else if error.contains("expected a sequence") || error.contains("an array of length") {
        explore(&with(file, path, json!([])), &below(path, "0"), found);
    }
}

/// The fields of a table of one kind: those that an error names, or that it misses one by one.
fn explore_kind(mut file: Value, path: &[String], found: &mut Schema) {
    loop {
        let asked = with(&file, &below(path, NONE), json!(0));
        let Err(error) = read(&asked) else { return };
        if error.contains("unknown field `?`") {
            return explore_fields(&file, path, &error, found);
        }
        let missing = error.strip_prefix("missing field `");
        let Some(name) = missing.and_then(|rest| rest.split('`').next()) else {
            return;
        };
        let place = below(path, name);
        explore(&file, &place, found);
        file = with(&file, &place, json!(1));
        if read(&file).is_err_and(|again| again == error) {
            return;
        }
    }
}

fn explore_fields(file: &Value, path: &[String], error: &str, found: &mut Schema) {
    found.tables.push((path.to_owned(), file.clone()));
    for name in names(error) {
        if name != "type" && name != "kind" {
            explore(file, &below(path, &name), found);
        }
    }
}

/// A number, with what its table needs.
fn add(file: &Value, path: Vec<String>, found: &mut Schema) {
    let mut file = with(file, &path, json!(1));
    let table = &path[..path.len() - 1];
    while let Err(error) = read(&file) {
        let missing = error.strip_prefix("missing field `");
        let name = match missing.and_then(|rest| rest.split('`').next()) {
            // The second number of a pair.
            None if error.contains("invalid length 1, expected an array of length 2") => "1",
            // A 1 that does not go with the defaults beside it.
            None => break,
            Some(name) => name,
        };
        let place = below(table, name);
        let values = [
            json!(0.5),
            json!(1),
            json!("assets/base"),
            plain()["recipe"]["rewards"][0]["rule"].clone(),
            json!([]),
            json!({}),
        ];
        let values = values.map(|value| with(&file, &place, value));
        let fits = |file: &&Value| match read(file) {
            Ok(()) => true,
            Err(error) => error.starts_with("missing") && !error.contains(name),
        };
        let Some(fit) = values.iter().find(fits) else {
            break;
        };
        file = fit.clone();
    }
    found.numbers.push(NumberField { path, file });
}
