use serde::Serialize;
use serde_json::Value as Json;
use toml::{Table, Value};

use super::bound::{Bound, Number};
use super::table::{MOST_WHOLE, bound};
use crate::error::Error;

/// Checks every number of the part `name` of a run, of the whole run where the name is empty.
///
/// # Errors
/// [`Error::Setting`] with the full name of the first that is out of its bound, or with that of
/// settings that no file can hold, such as a path that is not UTF-8.
pub(crate) fn check_numbers(name: &str, settings: &impl Serialize) -> Result<(), Error> {
    let failed = |error: String| {
        let name = if name.is_empty() { "run" } else { name };
        Error::setting(name, format!("cannot be written to a file: {error}"))
    };
    let mut path: Vec<String> = name.split('.').map(String::from).collect();
    path.retain(|part| !part.is_empty());
    // A file holds no whole number of more than 63 bits, and JSON no number that is none.
    let json = serde_json::to_value(settings).map_err(|error| failed(error.to_string()))?;
    large(&mut path, &json)?;
    let file = Value::try_from(settings).map_err(|error| failed(error.to_string()))?;
    walk(&mut path, &file)
}

/// Checks every number of a run's file as it stands there, before it is read.
///
/// # Errors
/// As [`check_numbers`].
pub(crate) fn check_file(file: &Table) -> Result<(), Error> {
    let mut path = Vec::new();
    file.iter()
        .try_for_each(|(name, value)| below(&mut path, name.clone(), |path| walk(path, value)))
}

fn below(
    path: &mut Vec<String>,
    name: String,
    check: impl FnOnce(&mut Vec<String>) -> Result<(), Error>,
) -> Result<(), Error> {
    path.push(name);
    check(path)?;
    path.pop();
    Ok(())
}

fn large(path: &mut Vec<String>, value: &Json) -> Result<(), Error> {
    match value {
        Json::Number(number) if number.as_u64().is_some_and(|n| n > MOST_WHOLE) => {
            let message =
                format!("is {number}, expected at most {MOST_WHOLE}, which a run file can hold");
            Err(Error::setting(path.join("."), message))
        }
        Json::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| below(path, name.clone(), |path| large(path, value))),
        Json::Array(values) => values.iter().enumerate().try_for_each(|(place, value)| {
            below(path, place.to_string(), |path| large(path, value))
        }),
        _ => Ok(()),
    }
}

fn walk(path: &mut Vec<String>, value: &Value) -> Result<(), Error> {
    match value {
        Value::Integer(value) => number(path, Number::Whole((*value).into())),
        Value::Float(value) => number(path, Number::Real(*value)),
        Value::Datetime(date) => {
            let message = format!("is {date}, a date or a time, which no setting is");
            Err(Error::setting(path.join("."), message))
        }
        Value::Table(fields) => fields
            .iter()
            .try_for_each(|(name, value)| below(path, name.clone(), |path| walk(path, value))),
        Value::Array(values) => values.iter().enumerate().try_for_each(|(place, value)| {
            below(path, place.to_string(), |path| walk(path, value))
        }),
        _ => Ok(()),
    }
}

fn number(path: &[String], number: Number) -> Result<(), Error> {
    let bound = bound(path);
    let fault = |expected: String| {
        // A number with a point is no whole one, whatever is behind the point.
        let point = match (bound, number) {
            (Some(Bound::Whole(..)), Number::Real(value)) if value.fract() == 0.0 => {
                if number.to_string().contains('e') {
                    ""
                } else {
                    ".0"
                }
            }
            _ => "",
        };
        let message = format!("is {number}{point}, expected {expected}");
        Err(Error::setting(path.join("."), message))
    };
    match bound {
        Some(bound) if !bound.holds(number) => fault(bound.to_string()),
        _ if !number.is_single() => fault("a number in f32's range".to_owned()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_is_refused_by_its_full_name_with_what_was_given() {
        for (settings, expected) in [
            (
                json!({"learner": {"adamw": {"weight_decay": 1e40}}}),
                "`fine_tune.learner.adamw.weight_decay` is 1e40, expected 0 to 1000",
            ),
            (
                json!({"learner": {"adamw": {"betas": [0.9, 1]}}}),
                "`fine_tune.learner.adamw.betas.1` is 1, expected 0 to 0.9999999",
            ),
            (
                json!({"steps": -1}),
                "`fine_tune.steps` is -1, expected a whole number, 0 to 4294967295",
            ),
            (
                json!({"keep_checkpoints": 0}),
                "`fine_tune.keep_checkpoints` is 0, expected a whole number, at least 1",
            ),
            (
                json!({"seed": u64::MAX}),
                "`fine_tune.seed` is 18446744073709551615, expected at most 9223372036854775807, \
                 which a run file can hold",
            ),
            (
                json!({"lora": {"alpha_pattern": {"q_proj": 1e38}}}),
                "`fine_tune.lora.alpha_pattern.q_proj` is 1e38, expected 0.001 to 100000",
            ),
            (
                json!({"learning_rate": 1e-50}),
                "`fine_tune.learning_rate` is 1e-50, expected 0, or 1e-12 to 1",
            ),
            // One's own, which no table knows.
            (
                json!({"mine": [1e40]}),
                "`fine_tune.mine.0` is 1e40, expected a number in f32's range",
            ),
        ] {
            let error = check_numbers("fine_tune", &settings).unwrap_err();
            assert_eq!(error.to_string(), expected);
        }
        let file: Table = toml::from_str("[test]\ntest_fraction = nan").unwrap();
        let error = check_file(&file).unwrap_err().to_string();
        assert_eq!(
            error,
            "`test.test_fraction` is nan, expected 1e-6 to 0.999999"
        );
        let file: Table = toml::from_str("[fine_tune]\nsteps = 1.0").unwrap();
        let error = check_file(&file).unwrap_err().to_string();
        assert_eq!(
            error,
            "`fine_tune.steps` is 1.0, expected a whole number, 0 to 4294967295"
        );
        for (text, expected) in [
            (
                "seed = 2026-01-01",
                "`seed` is 2026-01-01, a date or a time, which no setting is",
            ),
            (
                "a = [{ b = 10:00:00 }]",
                "`a.0.b` is 10:00:00, a date or a time, which no setting is",
            ),
        ] {
            let file: Table = toml::from_str(text).unwrap();
            assert_eq!(check_file(&file).unwrap_err().to_string(), expected);
        }
        let good = json!({"steps": 1, "mine": [1e30, 0.0], "learning_rate": 0.0});
        assert!(check_numbers("fine_tune", &good).is_ok());
    }
}
