//! Each table of a run's file as a list: refused by its name.

use toml::{Table, Value};

use super::schema::schema;
use crate::run_config::RunConfig;

/// A file with a list in the place of a table.
fn file(file: &serde_json::Value, path: &[String], list: &str) -> String {
    let mut file = Value::try_from(file).unwrap();
    let mut at = &mut file;
    let table = || Value::Table(Table::new());
    for name in path {
        if let Ok(place) = name.parse::<usize>() {
            if !at.is_array() {
                *at = Value::Array(Vec::new());
            }
            let values = at.as_array_mut().unwrap();
            values.resize(values.len().max(place + 1), table());
            at = &mut values[place];
        } else {
            if !at.is_table() {
                *at = table();
            }
            at = at.as_table_mut().unwrap().entry(name).or_insert(table());
        }
    }
    let value: Table = format!("value = {list}").parse().unwrap();
    *at = value["value"].clone();
    toml::to_string(&file).unwrap()
}

#[test]
fn every_table_of_a_run_s_file_is_refused_where_it_is_a_list() {
    let tables = schema().tables;
    assert!(tables.len() > 60, "{}", tables.len());
    let mut unnamed = Vec::new();
    for (path, whole) in tables.iter().filter(|(path, _)| !path.is_empty()) {
        let name = path.join(".");
        for list in ["[]", "[1]", "[\"x\", 0.5]", "[\"grpo\", \"paper\"]"] {
            let text = file(whole, path, list);
            let error = RunConfig::from_toml(&text).map(drop).unwrap_err();
            if error.to_string() != format!("`{name}` is a list, expected a table") {
                unnamed.push(format!("{name} = {list}: {error}"));
            }
        }
    }
    assert!(unnamed.is_empty(), "{}", unnamed.join("\n"));
}
