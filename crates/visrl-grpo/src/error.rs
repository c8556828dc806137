//! What can go wrong, said so that the caller knows which field to change.

use thiserror::Error;

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the mathematics: lengths that do not fit, fields that a configuration
/// needs and a batch lacks, and configuration values outside their range.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A field has another length than the batch asks for.
    #[error("`{field}` has {found} values where the batch needs {expected}")]
    Length {
        /// The field with the wrong length.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
    },
    /// Rows that do not end one after another.
    #[error("`ends` falls: every row must end where it begins or later")]
    Ends,
    /// The configuration needs a field that the batch does not carry: the field, and the option.
    #[error("`{0}` is missing: add it to the batch, or turn off `{1}`, which needs it")]
    Missing(&'static str, &'static str),
    /// A configuration value lies outside its range.
    #[error("`{field}` = {value} is not allowed: it must be {allowed}")]
    Config {
        /// The name of the field.
        field: &'static str,
        /// Its value.
        value: f64,
        /// What it may be.
        allowed: &'static str,
    },
    /// Completions that do not divide into groups of this size.
    #[error("{0} completions do not divide into groups of {1}, one or more")]
    Groups(usize, usize),
    /// A range of rows that reaches beyond the batch.
    #[error("rows {0:?} are not within the batch's {1} rows")]
    Rows(std::ops::Range<usize>, usize),
}

impl Error {
    /// Checks that a field has as many values as there are tokens, rows, completions or rules.
    pub(crate) fn check_length(field: Name, found: usize, expected: usize) -> Result<()> {
        let error = Self::Length { field, found, expected };
        if found == expected { Ok(()) } else { Err(error) }
    }

    /// Checks a configuration value.
    pub(crate) fn check(ok: bool, field: Name, value: f64, allowed: Name) -> Result<()> {
        let error = Self::Config { field, value, allowed };
        if ok { Ok(()) } else { Err(error) }
    }
}

type Name = &'static str;
