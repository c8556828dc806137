//! What can go wrong, said so that the caller knows which field to change.

use thiserror::Error;

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the mathematics: shapes that do not fit, fields that a configuration
/// needs and a batch lacks, and configuration values outside their range.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice has another length than the batch's shape asks for.
    #[error(
        "`{field}` has {found} values, but {rows} rows of {len} ask for {expected}: pad every \
         field to the same [rows, len]"
    )]
    Shape {
        /// The field with the wrong length.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
        /// Rows of the batch.
        rows: usize,
        /// Values in a row of this field.
        len: usize,
    },
    /// Rows that do not end one after another.
    #[error("`ends` falls: every row must end where it begins or later")]
    Ends,
    /// The configuration needs a field that the batch does not carry.
    #[error("`{field}` is missing, but {needed_by} needs it: {advice}")]
    Missing {
        /// The field that is `None`.
        field: &'static str,
        /// The option that needs it.
        needed_by: &'static str,
        /// What to do about it.
        advice: &'static str,
    },
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
    /// Rewards that do not divide into groups.
    #[error(
        "{completions} completions do not divide into groups of {group_size}: give every prompt \
         the same number of completions, at least one"
    )]
    Groups {
        /// Completions in the table.
        completions: usize,
        /// Completions per prompt.
        group_size: usize,
    },
    /// A tensor has another shape than the log-probabilities.
    #[cfg(feature = "burn")]
    #[error("`{field}` is of shape {found:?}, but the log-probabilities are of {expected:?}")]
    Dimensions {
        /// The field with the wrong shape.
        field: &'static str,
        /// Its shape.
        found: [usize; 2],
        /// The shape it should have: `[rows, len]`.
        expected: [usize; 2],
    },
    /// The device failed to return a tensor.
    #[cfg(feature = "burn")]
    #[error("reading from the device: {message}")]
    Device {
        /// What it said.
        message: String,
    },
    /// A range of rows that reaches beyond the batch.
    #[error("rows {start}..{end} are not within the batch's {rows} rows")]
    Rows {
        /// First row asked for.
        start: usize,
        /// One past the last row asked for.
        end: usize,
        /// Rows in the batch.
        rows: usize,
    },
}

impl Error {
    /// Checks that a slice has the length its shape asks for.
    pub(crate) fn check_shape(
        field: &'static str,
        found: usize,
        rows: usize,
        len: usize,
    ) -> Result<()> {
        let expected = rows.saturating_mul(len);
        if found == expected {
            Ok(())
        } else {
            Err(Self::Shape {
                field,
                found,
                expected,
                rows,
                len,
            })
        }
    }

    /// Checks a configuration value.
    pub(crate) fn check_config(
        ok: bool,
        field: &'static str,
        value: f64,
        allowed: &'static str,
    ) -> Result<()> {
        if ok {
            Ok(())
        } else {
            Err(Self::Config {
                field,
                value,
                allowed,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_field_and_say_what_to_do() {
        let shape = Error::check_shape("mask", 5, 2, 3).unwrap_err().to_string();
        assert!(
            shape.contains("`mask`") && shape.contains("pad every field"),
            "{shape}"
        );
        let config = Error::check_config(false, "beta", -1.0, "zero or more").unwrap_err();
        assert!(config.to_string().contains("`beta` = -1"));
    }
}
