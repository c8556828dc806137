//! When an answer counts as the label.

mod exact;
mod lenient;
mod matcher;
mod matcher_kind;
mod numeric;
mod option_letter;
mod strict_tag;
mod underscore;

pub use exact::{Exact, IgnoreCase, Trimmed};
pub use lenient::Contains;
pub use matcher::Matcher;
pub use matcher_kind::MatcherKind;
pub use numeric::Numeric;
pub use option_letter::{LastLetter, OptionLetter};
pub use strict_tag::StrictTag;
pub use underscore::Underscore;
