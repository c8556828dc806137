use crate::text::{equal_lower, strip};

use super::matcher::Matcher;

/// Equal byte for byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exact;

impl Matcher for Exact {
    fn name(&self) -> &str {
        "exact"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        answer == label
    }
}

/// Equal but for blanks at the ends; upper and lower case differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trimmed;

impl Matcher for Trimmed {
    fn name(&self) -> &str {
        "trimmed"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        strip(answer) == strip(label)
    }
}

/// Equal but for blanks at the ends and for case, by full Unicode lower-casing: what the paper's
/// thinking methods compare tags with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IgnoreCase;

impl Matcher for IgnoreCase {
    fn name(&self) -> &str {
        "ignore_case"
    }

    fn matches(&self, answer: &str, label: &str) -> bool {
        equal_lower(strip(answer), strip(label))
    }
}
