//! Each table of a run's file as a list: refused by its name.

use toml::Value;

use super::schema::schema;
use crate::run_config::RunConfig;

#[test]
fn every_table_of_a_run_s_file_is_refused_by_its_name_where_it_is_a_list() {
    let tables = schema().tables;
    assert!(tables.len() > 60, "{}", tables.len());
    for (path, file) in tables.iter().filter(|(path, _)| !path.is_empty()) {
        let name = path.join(".");
        let lists = [
            "[]",
            "[1]",
            "[\"x\", 0.5]",
            "[[1], {}]",
            "[\"grpo\", \"paper\"]",
        ];
        for list in lists {
            let mut file = Value::try_from(file).unwrap();
            let mut at = &mut file;
            for name in path {
                at = match at {
                    Value::Array(values) => {
                        let place: usize = name.parse().unwrap();
                        let more = values.len().max(place + 1);
                        values.resize(more, Value::Boolean(true));
                        &mut values[place]
                    }
                    table => {
                        let table = table.as_table_mut().unwrap();
                        table.entry(name).or_insert(Value::Boolean(true))
                    }
                };
            }
            let value: toml::Table = format!("value = {list}").parse().unwrap();
            *at = value["value"].clone();
            let text = toml::to_string(&file).unwrap();
            let error = RunConfig::from_toml(&text).unwrap_err().to_string();
            let expected = format!("`{name}` is a list, expected a table");
            assert_eq!(error, expected, "{list} in {text}");
        }
    }
}
