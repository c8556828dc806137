//! Numbers of settings that single precision, in which losses and updates are computed, cannot hold.

use serde::Serialize;
use serde_json::Value;

use crate::error::Error;

/// Checks that every number of the settings `name` is 0 or a normal number of 32 bits, and that
/// integers are what a run file can hold. With an empty name the settings are a whole run file.
///
/// # Errors
/// [`Error::Setting`] with the full path of the first that is not, or with the name of settings that
/// no file can hold, such as a path that is not UTF-8.
pub(crate) fn check_numbers(name: &str, settings: &impl Serialize) -> Result<(), Error> {
    let value = serde_json::to_value(settings).map_err(|error| {
        let name = if name.is_empty() { "run" } else { name };
        Error::setting(name, format!("cannot be written to a file: {error}"))
    })?;
    walk(name, &value)
}

fn walk(path: &str, value: &Value) -> Result<(), Error> {
    let below = |name: &str| match path {
        "" => name.to_owned(),
        path => format!("{path}.{name}"),
    };
    match value {
        Value::Number(number) if number.as_u64().is_some_and(|n| i64::try_from(n).is_err()) => {
            let most = i64::MAX;
            let message =
                format!("is {number}, expected at most {most}, which a run file can hold");
            Err(Error::setting(path, message))
        }
        Value::Number(number) => {
            let found = number.as_f64().unwrap_or(f64::NAN);
            match found == 0.0 || (found as f32).is_normal() {
                true => Ok(()),
                false => {
                    let message = format!("is {found:e}, expected a number in f32's range");
                    Err(Error::setting(path, message))
                }
            }
        }
        Value::Object(fields) => fields
            .iter()
            .try_for_each(|(name, value)| walk(&below(name), value)),
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(place, value)| walk(&below(&place.to_string()), value)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_number_beyond_single_precision_is_named_at_any_depth() {
        let good = json!({"a": 0.0, "b": [1e38, -1e-37], "c": i64::MAX, "d": null, "e": "1e40"});
        assert!(check_numbers("", &good).is_ok());
        for (bad, path, found) in [
            (json!({"a": {"b": [1.0, 1e40]}}), "a.b.1", "1e40"),
            (json!({"a": -1e39}), "a", "-1e39"),
            (json!({"a": 1e-40}), "a", "1e-40"),
            (json!({"a": 1e-50}), "a", "1e-50"),
        ] {
            let error = check_numbers("", &bad).unwrap_err().to_string();
            let expected = format!("`{path}` is {found}, expected a number in f32's range");
            assert_eq!(error, expected);
        }
        let error = check_numbers("", &json!({"seed": u64::MAX})).unwrap_err();
        let expected = "`seed` is 18446744073709551615, expected at most 9223372036854775807";
        assert!(error.to_string().starts_with(expected), "{error}");
        let named = check_numbers("recipe", &json!({"a": 1e40})).unwrap_err();
        assert!(named.to_string().starts_with("`recipe.a` is "));
    }
}
