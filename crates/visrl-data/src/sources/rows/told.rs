use std::path::Path;

use crate::files::told::tell;
use crate::sources::rows::at::At;

/// A kind of what is told of a field: each is told where it shows first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fact {
    /// Something else is taken in its place.
    NotUsed,
    /// More than an answer.
    MoreThanAnswer,
    /// Images without a mark.
    FewerMarks,
    /// An image that is named again.
    NamedAgain,
    /// A list that names a choice twice.
    Twice,
    /// A list with choices that are one to a reader.
    Alike,
}

/// What rows say that has no meaning here, gathered so that each is told once a file.
#[derive(Default)]
pub(crate) struct Told {
    columns: Vec<String>,
    /// Of which field and which kind each is, and its text.
    facts: Vec<(String, Fact, String)>,
}

impl Told {
    /// A column that is not used.
    pub(crate) fn column(&mut self, column: &str) {
        if !self.columns.iter().any(|known| known == column) {
            self.columns.push(column.to_owned());
        }
    }

    /// A key within a column that is not used.
    pub(crate) fn part(&mut self, column: &str, key: &str) {
        self.column(&format!("{column}: {key}"));
    }

    /// Something else about a field, where it shows first.
    pub(crate) fn fact(&mut self, at: At<'_>, field: &str, kind: Fact, fact: &str) {
        let mut known = self.facts.iter();
        if !known.any(|(of, known, _)| of == field && *known == kind) {
            let fact = format!("{}: field `{field}`: {fact}", at.name());
            self.facts.push((field.to_owned(), kind, fact));
        }
    }

    /// Tells it.
    pub(crate) fn tell(self, path: &Path) {
        if !self.columns.is_empty() {
            let names: Vec<String> = self
                .columns
                .iter()
                .map(|name| format!("`{name}`"))
                .collect();
            let (is, mean) = match names.len() {
                1 => ("is", "it means"),
                _ => ("are", "they mean"),
            };
            let names = names.join(", ");
            tell(path, &format!("{names} {is} not used: {mean} nothing here"));
        }
        for (_, _, fact) in self.facts {
            tell(path, &fact);
        }
    }
}
