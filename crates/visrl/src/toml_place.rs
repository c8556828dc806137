//! Where an error of a run's file is, when it is within a table that tells its kind by a tag.
//!
//! Such a table is read whole before its kind is known, so the error points at the table, not at the
//! field in it. The field is found by leaving out one after another: without it the error is another,
//! or none.

use serde::Deserialize;
use toml::{Table, Value};

use crate::error::Error;
use crate::run_config::RunConfig;

/// The error of reading a run's text, by the full name of the field that it is about where it does
/// not show its line.
pub(crate) fn placed(text: &str, error: toml::de::Error) -> Error {
    let shown = error.span().map_or(0, |span| span.start);
    let Some(path) = field(text, error.message()) else {
        return error.into();
    };
    let Some(name) = path.last() else {
        return error.into();
    };
    let begin = text[..shown].rfind('\n').map_or(0, |end| end + 1);
    let mut lines = text[begin..].lines();
    if lines
        .next()
        .is_some_and(|line| line.contains(name.as_str()))
    {
        return error.into();
    }
    let number = text[..begin].lines().count() + 1;
    let is_field = |line: &str| line.trim_start().trim_start_matches('"').starts_with(name);
    let line = lines
        .position(is_field)
        .map_or(number, |at| number + 1 + at);
    Error::setting(
        path.join("."),
        format!("in line {line}: {}", error.message()),
    )
}

fn field(text: &str, message: &str) -> Option<Vec<String>> {
    let file: Table = toml::from_str(text).ok()?;
    let mut path = Vec::new();
    search(&Value::Table(file), &mut path, message).then_some(path)
}

/// Finds the innermost field below a place without which the error is another.
fn search(file: &Value, path: &mut Vec<String>, message: &str) -> bool {
    let Some(Value::Table(table)) = path
        .iter()
        .try_fold(file, |value, name| value.get(name.as_str()))
    else {
        return false;
    };
    for name in table.keys() {
        path.push(name.clone());
        let error = without(file, path);
        if error.as_deref() != Some(message) {
            let missing = format!("missing field `{name}`");
            let is_needed = error.is_some_and(|error| error.starts_with(&missing));
            if search(file, path, message) || !is_needed {
                return true;
            }
        }
        path.pop();
    }
    false
}

/// The error of reading a file without a field.
fn without(file: &Value, path: &[String]) -> Option<String> {
    let mut file = file.clone();
    let (name, above) = path.split_last()?;
    let table = above
        .iter()
        .try_fold(&mut file, |value, name| value.get_mut(name.as_str()))?;
    table.as_table_mut()?.remove(name);
    let error = RunConfig::deserialize(file).err()?;
    Some(error.message().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = r#"recipe = "no_thinking_rl"

[model]
path = "m"

[data.source]
kind = "image_folder"
path = "pictures"

[data.source.options]
question = "Which?"
OPTION

[fine_tune]
steps = 1
FINE_TUNE
"#;

    fn error(option: &str, fine_tune: &str) -> String {
        let text = RUN
            .replace("OPTION", option)
            .replace("FINE_TUNE", fine_tune);
        RunConfig::from_toml(&text).unwrap_err().to_string()
    }

    #[test]
    fn a_field_within_a_table_of_a_kind_is_named_in_full_with_its_line() {
        let unknown = error("quesion = \"x\"", "");
        let expected =
            "`data.source.options.quesion` in line 12: unknown field `quesion`, expected";
        assert!(unknown.starts_with(expected), "{unknown}");
        let typed = error("alpha = 3", "");
        assert!(
            typed.contains("`data.source.options.alpha` in line 12: "),
            "{typed}"
        );
        let deep = error(
            "",
            "[fine_tune.loss.family]\ntype = \"grpo\"\nepsilonn = 0.1",
        );
        let expected = "`fine_tune.loss.family.epsilonn` in line 18: unknown field";
        assert!(deep.starts_with(expected), "{deep}");
    }

    #[test]
    fn an_error_that_shows_its_line_stays_as_it_is() {
        for (option, fine_tune) in [("", "stepz = 1"), ("", "decay = \"x\"")] {
            let error = error(option, fine_tune);
            assert!(error.contains("TOML parse error at line 16"), "{error}");
        }
        let missing = RunConfig::from_toml("recipe = \"sft\"")
            .unwrap_err()
            .to_string();
        assert!(missing.contains("missing field `model`"), "{missing}");
    }
}
