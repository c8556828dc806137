//! Where a run's settings were read.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file that a run was read from, which errors about its settings name; none for a run that was
/// made in code. It is no part of the run: it is not written, and any two are equal.
#[derive(Clone, Debug, Default)]
pub struct ReadFrom(Option<PathBuf>);

impl PartialEq for ReadFrom {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl From<&Path> for ReadFrom {
    fn from(file: &Path) -> Self {
        Self(Some(file.to_owned()))
    }
}

impl ReadFrom {
    /// The error with the name of the file in front, where it is one of a setting.
    pub(crate) fn named(&self, error: Error) -> Error {
        match (&self.0, error) {
            (
                Some(file),
                error @ (Error::Setting { .. } | Error::UnknownName { .. } | Error::Device(_)),
            ) => Error::RunFile {
                path: file.clone(),
                source: Box::new(error),
            },
            (_, error) => error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_settings_name_the_file_once_and_others_stay() {
        let file = ReadFrom::from(Path::new("a.toml"));
        let error = file.named(Error::setting("out", "is empty"));
        assert_eq!(error.to_string(), "run file a.toml: `out` is empty");
        let again = file.named(error).to_string();
        assert_eq!(again, "run file a.toml: `out` is empty");
        let other = file.named(Error::file("x.json", "is damaged"));
        assert_eq!(other.to_string(), "x.json: is damaged");
        let code = ReadFrom::default().named(Error::setting("out", "is empty"));
        assert_eq!(code.to_string(), "`out` is empty");
    }
}
