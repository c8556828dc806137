use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::FileError;

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

    /// The error about one of the object's fields.
    pub fn error<E: From<FileError>>(&self, field: &str, message: impl Into<String>) -> E {
        let name = match self.prefix {
            "" => field.to_owned(),
            prefix => format!("{prefix}.{field}"),
        };
        FileError::field(self.path, &name, message).into()
    }

    /// A field's value; nothing where it is missing or null.
    ///
    /// # Errors
    /// [`FileError::Field`] when it has the wrong type.
    pub fn optional<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, FileError> {
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|source| self.error(field, format!("{source}, found {value}"))),
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

    fn within(&self, field: &str, value: usize, most: usize) -> Result<usize, FileError> {
        if value == 0 || value > most {
            return Err(self.error(field, format!("is {value}, expected 1 to {most}")));
        }
        Ok(value)
    }
}
