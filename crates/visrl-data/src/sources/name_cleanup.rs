use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What to do with class names as they stand in a data set's files.
///
/// A name is shown to the model and expected back, so a readable one may be easier to learn; but
/// another name is another experiment. For a rule not listed here use
/// [`MemoryDataset::map_class_names`](crate::MemoryDataset::map_class_names).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NameCleanup {
    /// Leave them alone.
    #[default]
    Keep,
    /// `american_bulldog` becomes `american bulldog`.
    Spaces,
    /// Names found here are replaced, the others stay.
    Replace(BTreeMap<String, String>),
}

impl NameCleanup {
    /// The name to use.
    pub fn apply(&self, name: &str) -> String {
        match self {
            Self::Keep => name.to_owned(),
            Self::Spaces => name.replace('_', " "),
            Self::Replace(names) => names.get(name).map_or(name, String::as_str).to_owned(),
        }
    }

    /// The names that are to be replaced, and that no class has.
    pub(crate) fn unused<'a>(
        &'a self,
        is_class: impl Fn(&str) -> bool + 'a,
    ) -> impl Iterator<Item = &'a str> {
        let names = match self {
            Self::Replace(names) => Some(names.keys()),
            Self::Keep | Self::Spaces => None,
        };
        let names = names.into_iter().flatten().map(String::as_str);
        names.filter(move |name| !is_class(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_spaced_or_replaced() {
        assert_eq!(NameCleanup::default().apply("a_b"), "a_b");
        assert_eq!(NameCleanup::Spaces.apply("a_b_c"), "a b c");
        let json = r#"{"replace": {"a_b": "Ab"}}"#;
        let replace: NameCleanup = serde_json::from_str(json).unwrap();
        assert_eq!(
            (replace.apply("a_b"), replace.apply("c_d")),
            ("Ab".into(), "c_d".into())
        );
    }
}
