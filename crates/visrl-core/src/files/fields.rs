use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FileError;
use super::tables::from_value;
use crate::warn_once::warn_once;

/// A view of one JSON object of a file that turns missing or unfit fields into errors.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'a> {
    path: &'a Path,
    prefix: &'a str,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    /// The object `value`, found in a file under `prefix` (with dots between levels, or empty).
    pub fn new(path: &'a Path, prefix: &'a str, value: &'a Value) -> Self {
        Self {
            path,
            prefix,
            value,
        }
    }

    /// The object itself.
    pub fn value(&self) -> &'a Value {
        self.value
    }

    /// Warns of something that a field says, which is taken otherwise or not at all.
    pub fn warn(&self, field: &str, message: impl Into<String>) {
        warn_once(self.error::<FileError>(field, message).to_string());
    }

    /// Warns of the fields that say something ([`is_set`]) and are in none of the lists of known
    /// ones: nothing that a file says is passed over in silence.
    pub fn tell_unknown(&self, known: &[&[&str]]) {
        let is_known = |name: &str| known.iter().any(|names| names.contains(&name));
        let Some(object) = self.value.as_object() else {
            return;
        };
        for (name, value) in object {
            if is_set(value) && !is_known(name) {
                let message = format!("is {}, which is not known and not used", shown(value));
                self.warn(name, message);
            }
        }
    }

    /// The file.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// The name of one of the object's fields in the file, with dots between levels.
    pub fn name(&self, field: &str) -> String {
        match self.prefix {
            "" => field.to_owned(),
            prefix => format!("{prefix}.{field}"),
        }
    }

    /// The error about one of the object's fields.
    pub fn error<E: From<FileError>>(&self, field: &str, message: impl Into<String>) -> E {
        FileError::field(self.path, &self.name(field), message).into()
    }

    /// A field's value; nothing where it is missing or null.
    ///
    /// # Errors
    /// [`FileError::Field`] when it has the wrong type.
    pub fn optional<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, FileError> {
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => from_value(value)
                .map(Some)
                .map_err(|source| self.error(field, format!("{source}, found {}", shown(value)))),
        }
    }

    /// A field's value.
    ///
    /// # Errors
    /// [`FileError::Field`] when it is missing or has the wrong type.
    pub fn required<T: DeserializeOwned>(&self, field: &str) -> Result<T, FileError> {
        self.optional(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// A required whole number in `1..=most`.
    ///
    /// # Errors
    /// [`FileError::Field`].
    pub fn size(&self, field: &str, most: usize) -> Result<usize, FileError> {
        let value = self.required(field)?;
        self.within(field, value, most)
    }

    /// A whole number in `1..=most`, or the default.
    ///
    /// # Errors
    /// [`FileError::Field`].
    pub fn size_or(&self, field: &str, most: usize, or: usize) -> Result<usize, FileError> {
        let value = self.optional(field)?.unwrap_or(or);
        self.within(field, value, most)
    }

    /// A number from `least` to `most`, or the default.
    ///
    /// # Errors
    /// [`FileError::Field`].
    pub fn number_or(
        &self,
        field: &str,
        [least, most]: [f64; 2],
        or: f64,
    ) -> Result<f64, FileError> {
        let value: f64 = self.optional(field)?.unwrap_or(or);
        if !(least..=most).contains(&value) {
            let found = self.value.get(field).map_or_else(String::new, shown);
            let message = format!("is {found}, expected {least:?} to {most:?}");
            return Err(self.error(field, message));
        }
        Ok(value)
    }

    /// A switch: true, false, or nothing where it is missing or null. What is neither is told in a
    /// warning, for switches that change nothing.
    pub fn switch(&self, field: &str) -> Option<bool> {
        self.optional::<bool>(field).unwrap_or_else(|error| {
            warn_once(error.to_string());
            None
        })
    }

    fn within(&self, field: &str, value: usize, most: usize) -> Result<usize, FileError> {
        if value == 0 || value > most {
            return Err(self.error(field, format!("is {value}, expected 1 to {most}")));
        }
        Ok(value)
    }
}

/// Whether a value says anything: what is null, off or empty does not.
pub fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(on) => *on,
        Value::Number(_) => true,
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
    }
}

/// Whether two values are the same: 1 and 1.0 are.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a == b,
    }
}

/// The beginning of a value, as a message shows it.
pub fn shown(value: &Value) -> String {
    const MOST: usize = 80;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_says_nothing_is_not_set() {
        for nothing in [json!(null), json!(false), json!(""), json!([]), json!({})] {
            assert!(!is_set(&nothing), "{nothing}");
        }
        for something in [
            json!(0),
            json!(true),
            json!("a"),
            json!([0]),
            json!({ "a": 0 }),
        ] {
            assert!(is_set(&something), "{something}");
        }
    }

    #[test]
    fn numbers_are_the_same_however_they_are_written() {
        assert!(same(&json!([1, 2.0]), &json!([1.0, 2])));
        assert!(!same(&json!([1, 2]), &json!([1])));
        assert!(!same(&json!(1), &json!("1")));
    }

    #[test]
    fn a_number_out_of_its_range_is_named_as_it_stands() {
        let value = json!({"a": 1e40, "b": 0.5, "c": "x"});
        let fields = Fields::new(Path::new("f.json"), "in", &value);
        let read = |field| fields.number_or(field, [0.1, 10.0], 1.0);
        let error = read("a").unwrap_err().to_string();
        assert_eq!(
            error,
            "f.json: field `in.a`: is 1e+40, expected 0.1 to 10.0"
        );
        assert_eq!((read("b").unwrap(), read("d").unwrap()), (0.5, 1.0));
        assert!(read("c").unwrap_err().to_string().contains("`in.c`"));
    }

    #[test]
    fn long_values_are_cut() {
        assert_eq!(shown(&json!("a")), "\"a\"");
        assert_eq!(shown(&json!("a".repeat(100))).len(), 83);
    }
}
