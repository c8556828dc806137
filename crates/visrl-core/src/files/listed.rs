use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The full name of the first list in a value that stands where `T` has a table of named fields.
///
/// What is expected at a place is found by asking the reader for a table that it cannot know. So
/// this also holds for tables that tell their kind by a tag, which are read into a buffer first.
pub fn listed_table<T: DeserializeOwned>(value: &Value) -> Option<String> {
    let read = |value: Value| T::deserialize(value).err().map(|error| error.to_string());
    let error = read(value.clone());
    let mut lists = Vec::new();
    find(&mut Vec::new(), value, &mut lists);
    let found = lists.into_iter().find(|path| {
        let Some(asked) = read(with(value, path, json!({ "?": 0 }))) else {
            // What nothing reads may be anything.
            return read(with(value, path, json!(true))).is_some();
        };
        let is_table = asked.contains("unknown field `?`") || asked.contains("missing field");
        // The same error may be that of another place, or of an empty list here.
        let other = || read(with(value, path, json!(true)));
        is_table && (Some(asked) != error || other() != error)
    });
    found.map(|path| path.join("."))
}

/// The places of all lists, the outer before the inner.
fn find(path: &mut Vec<String>, value: &Value, found: &mut Vec<Vec<String>>) {
    let below: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields.iter().map(|(name, v)| (name.clone(), v)).collect(),
        Value::Array(values) => {
            found.push(path.clone());
            let places = values.iter().enumerate();
            places.map(|(place, v)| (place.to_string(), v)).collect()
        }
        _ => Vec::new(),
    };
    for (name, value) in below {
        path.push(name);
        find(path, value, found);
        path.pop();
    }
}

/// The value with another one in the place of a list.
fn with(value: &Value, path: &[String], other: Value) -> Value {
    let mut value = value.clone();
    let at = path.iter().try_fold(&mut value, |at, name| match at {
        Value::Array(values) => values.get_mut(name.parse::<usize>().ok()?),
        at => at.get_mut(name),
    });
    if let Some(at) = at {
        *at = other;
    }
    value
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(PartialEq, Deserialize)]
    #[serde(tag = "kind", deny_unknown_fields, rename_all = "snake_case")]
    enum Tagged {
        Few { at: f64 },
    }

    #[derive(Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Whole {
        pair: Option<[f64; 2]>,
        names: Vec<String>,
        kinds: Vec<Tagged>,
        inner: Option<Box<Whole>>,
    }

    #[derive(Default, PartialEq, Deserialize)]
    #[serde(default)]
    struct Part {
        inner: Option<Box<Part>>,
    }

    #[test]
    fn lists_of_what_is_not_read_are_no_tables() {
        let value = json!({"inner": {"mean": [1, 2], "other": {"a": [[]]}}});
        assert_eq!(listed_table::<Part>(&value), None);
        let value = json!({"inner": {"mean": [1, 2], "inner": []}});
        assert_eq!(listed_table::<Part>(&value).as_deref(), Some("inner.inner"));
    }

    #[test]
    fn a_list_in_a_tables_place_is_found_by_its_name() {
        for (value, name) in [
            (json!([]), ""),
            (json!({"kinds": [["few", 1]]}), "kinds.0"),
            (
                json!({"kinds": [{"kind": "few", "at": 1}, ["few"]]}),
                "kinds.1",
            ),
            (json!({"inner": []}), "inner"),
            (json!({"kinds": [[]]}), "kinds.0"),
            (json!({"inner": {"inner": [[1, 2]]}}), "inner.inner"),
        ] {
            assert_eq!(
                listed_table::<Whole>(&value).as_deref(),
                Some(name),
                "{value}"
            );
        }
        for value in [
            json!({"pair": [1, 2], "names": ["a"], "kinds": [], "inner": {"names": []}}),
            json!({"pair": [1, 2, 3]}),
            json!({"names": [1], "x": []}),
        ] {
            assert_eq!(listed_table::<Whole>(&value), None, "{value}");
        }
    }
}
