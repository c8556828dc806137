use std::path::Path;

use crate::error::Error;

/// Where a row stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At<'a> {
    pub(crate) path: &'a Path,
    /// `line`, `row` or `entry`.
    pub(crate) unit: &'static str,
    pub(crate) number: u64,
}

impl<'a> At<'a> {
    /// A line, from 1.
    pub(crate) fn line(path: &'a Path, number: u64) -> Self {
        Self {
            path,
            unit: "line",
            number,
        }
    }

    /// A row of an array or of a parquet file, from 0.
    pub(crate) fn row(path: &'a Path, number: u64) -> Self {
        Self {
            path,
            unit: "row",
            number,
        }
    }

    /// As errors name it.
    pub(crate) fn name(self) -> String {
        format!("{} {}", self.unit, self.number)
    }

    /// What is wrong with a field of the row.
    pub(crate) fn error(self, field: &str, message: impl Into<String>) -> Error {
        Error::Row {
            path: self.path.to_path_buf(),
            row: self.name(),
            field: field.into(),
            message: message.into(),
        }
    }
}
