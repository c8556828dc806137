use std::path::Path;

use crate::files::told::tell;
use crate::sources::rows::at::At;

/// What rows say that has no meaning here, gathered so that each is told once a file.
#[derive(Default)]
pub(crate) struct Told {
    columns: Vec<String>,
    /// What each is about, and its text.
    facts: Vec<(String, String)>,
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
    pub(crate) fn fact(&mut self, at: At<'_>, field: &str, fact: &str) {
        let about = format!("field `{field}`: ");
        if !self.facts.iter().any(|(known, _)| *known == about) {
            let fact = format!("{}: {about}{fact}", at.name());
            self.facts.push((about, fact));
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
        for (_, fact) in self.facts {
            tell(path, &fact);
        }
    }
}
