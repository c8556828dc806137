//! What can go wrong, said so that the caller knows which field to change.

use thiserror::Error;

/// The crate's result type.
pub type Result<T> = std::result::Result<T, Error>;

/// What can go wrong in the mathematics: lengths that do not fit, fields that a configuration
/// needs and a batch lacks, and configuration values outside their range.
#[derive(Debug, Clone, PartialEq, Error)]
#[non_exhaustive]
pub enum Error {
    /// A slice has another length than the batch asks for.
    #[error("`{field}` has {found} values where {expected} are needed: one per {per}")]
    Length {
        /// The field with the wrong length.
        field: &'static str,
        /// Its length.
        found: usize,
        /// The length it should have.
        expected: usize,
        /// What there is one value for: "token", "row", "completion", "rule".
        per: &'static str,
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
    /// Checks that a slice has one value per token, row, completion or rule.
    pub(crate) fn check_length(
        field: &'static str,
        found: usize,
        expected: usize,
        per: &'static str,
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Length {
            field,
            found,
            expected,
            per,
        })
    }

    /// Checks a configuration value.
    pub(crate) fn check_config(
        ok: bool,
        field: &'static str,
        value: f64,
        allowed: &'static str,
    ) -> Result<()> {
        if ok {
            return Ok(());
        }
        Err(Self::Config {
            field,
            value,
            allowed,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_field_and_what_it_should_be() {
        let length = Error::check_length("logps", 5, 6, "token").unwrap_err();
        let text = "`logps` has 5 values where 6 are needed: one per token";
        assert_eq!(length.to_string(), text);
        let config = Error::check_config(false, "beta", -1.0, "zero or more").unwrap_err();
        assert_eq!(
            config.to_string(),
            "`beta` = -1 is not allowed: it must be zero or more"
        );
    }
}
