//! Keys of a run file that nothing reads.
//!
//! A struct refuses a field that it does not know, but what stands beside the tag of an enum is passed
//! over where the tag's variant has no field, whatever the enum says. So each key of the file is
//! looked for in what was read, written again. One that is not there may still have been read, under
//! another name or as a value that is not written: it was, if another value in its place gives an
//! error or another run.

use serde::Deserialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use crate::error::Error;
use crate::run_config::RunConfig;

/// Refuses a run file with a key that nothing reads; `run` is what was read of it.
///
/// # Errors
/// [`Error::Setting`] with the full path of the first.
pub(crate) fn refuse_unread(text: &str, run: &RunConfig) -> Result<(), Error> {
    let file: Table = toml::from_str(text)?;
    let Ok(read) = serde_json::to_value(run) else {
        return Ok(());
    };
    let file = Value::Table(file);
    let mut suspects = Vec::new();
    missing(&mut Vec::new(), &file, Some(&read), &mut suspects);
    refuse_longer(&mut Vec::new(), &file, &read)?;
    for path in suspects {
        let mut other = file.clone();
        change(&mut other, &path);
        let other = RunConfig::deserialize(other).ok();
        let other = other.and_then(|run| serde_json::to_value(run).ok());
        if other.as_ref() == Some(&read) {
            let name = path.join(".");
            return Err(Error::setting(name, told(&read, &path)));
        }
    }
    Ok(())
}

/// The paths of the keys that are not in what was read.
fn missing(
    path: &mut Vec<String>,
    file: &Value,
    read: Option<&Json>,
    found: &mut Vec<Vec<String>>,
) {
    match file {
        Value::Table(fields) => {
            for (name, value) in fields {
                path.push(name.clone());
                match read.and_then(|read| read.get(name)) {
                    None => found.push(path.clone()),
                    there => missing(path, value, there, found),
                }
                path.pop();
            }
        }
        Value::Array(values) => {
            for (place, value) in values.iter().enumerate() {
                path.push(place.to_string());
                missing(path, value, read.and_then(|read| read.get(place)), found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Refuses a list that has more values than were read: one of a fixed length.
fn refuse_longer(path: &mut Vec<String>, file: &Value, read: &Json) -> Result<(), Error> {
    let mut below = |name: String, value: &Value, read: Option<&Json>| {
        path.push(name);
        let found = read.map_or(Ok(()), |read| refuse_longer(path, value, read));
        path.pop();
        found
    };
    match (file, read) {
        (Value::Table(fields), Json::Object(read)) => fields
            .iter()
            .try_for_each(|(name, value)| below(name.clone(), value, read.get(name))),
        (Value::Array(values), Json::Array(read)) if values.len() > read.len() => {
            let message = format!("has {} values, expected {}", values.len(), read.len());
            Err(Error::setting(path.join("."), message))
        }
        (Value::Array(values), Json::Array(read)) => values
            .iter()
            .zip(read)
            .enumerate()
            .try_for_each(|(place, (value, read))| below(place.to_string(), value, Some(read))),
        _ => Ok(()),
    }
}

/// Puts a value of another type in the place of one.
fn change(file: &mut Value, path: &[String]) {
    let mut at = Some(file);
    for name in path {
        at = at.and_then(|value| match value {
            Value::Array(values) => name.parse().ok().and_then(|at: usize| values.get_mut(at)),
            Value::Table(fields) => fields.get_mut(name),
            _ => None,
        });
    }
    if let Some(value) = at {
        *value = match value {
            Value::Boolean(_) => Value::String("another".into()),
            _ => Value::Boolean(true),
        };
    }
}

fn told(read: &Json, path: &[String]) -> String {
    let around = path.split_last().and_then(|(_, around)| {
        let pointer: String = around.iter().map(|name| format!("/{name}")).collect();
        read.pointer(&pointer)
    });
    let tag = ["kind", "type"].into_iter().find_map(|tag| {
        let value = around?.get(tag)?.as_str()?;
        Some(format!("with `{tag} = \"{value}\"` "))
    });
    let tag = tag.unwrap_or_default();
    format!("has no effect, as {tag}nothing reads it: remove it")
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"
        recipe = "no_thinking_rl"
        model = { path = "m", load = { LOAD } }
        data.source = { kind = "drawn_shapes" }
        [fine_tune]
        FINE_TUNE
    "#;

    fn read(load: &str, fine_tune: &str) -> Result<RunConfig, String> {
        let text = RUN.replace("LOAD", load).replace("FINE_TUNE", fine_tune);
        RunConfig::from_toml(&text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_beside_a_tag_that_takes_none_is_refused_by_its_path() {
        for (load, fine_tune, name) in [
            (
                "",
                "choices = { kind = \"all\", fraction = 0.4 }",
                "fine_tune.choices.fraction",
            ),
            (
                "",
                "choices = { kind = \"open\", x = [] }",
                "fine_tune.choices.x",
            ),
            (
                "pipeline = { type = \"plain\", size = 384 }",
                "",
                "model.load.pipeline.size",
            ),
            (
                "",
                "evaluation.pipeline = { type = \"plain\", size = 1 }",
                "fine_tune.evaluation.pipeline.size",
            ),
            (
                "",
                "evaluation.pipeline = { type = \"paper\", size = 1, x = { y = true } }",
                "fine_tune.evaluation.pipeline.x",
            ),
            (
                "",
                "loss.family = { type = \"sapo\", temperature_pos = 1.0, x = 1 }",
                "x",
            ),
        ] {
            let error = read(load, fine_tune).unwrap_err();
            assert!(error.contains(&format!("{name}`")), "{error}");
        }
        let error = read("", "choices = { kind = \"all\", fraction = 0.4 }").unwrap_err();
        assert_eq!(
            error,
            "`fine_tune.choices.fraction` has no effect, as with `kind = \"all\"` nothing reads it: \
             remove it"
        );
    }

    #[test]
    fn a_list_longer_than_its_length_is_refused() {
        let error = read("", "learner.adamw.betas = [0.9, 0.95, 0.99]").unwrap_err();
        assert_eq!(
            error,
            "`fine_tune.learner.adamw.betas` has 3 values, expected 2"
        );
        assert!(read("", "learner.adamw.betas = [0.9, 0.95]").is_ok());
    }

    #[test]
    fn what_is_read_by_another_name_or_not_written_again_is_read() {
        for fine_tune in [
            "loss.loss = { type = \"grpo\" }",
            "lora = { r = 2, rank_pattern = {}, layers_pattern = [], layers_to_transform = 0 }",
            "lora.exclude_modules = []",
            "evaluation = \"paper_few_shot\"",
            "loss = \"mine\"",
            "learner.parameter_groups = [{ names = \"lora_B\" }, { vectors_only = true }]",
        ] {
            read("max_pixels = 5000", fine_tune).unwrap_or_else(|e| panic!("{fine_tune}: {e}"));
        }
    }
}
