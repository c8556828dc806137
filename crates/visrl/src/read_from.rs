//! Where a run's settings were read.

use std::path::{Path, PathBuf};

use crate::error::Error;

/// The file that a run was read from, which errors about its settings name; none for a run that was
/// made in code. It is no part of the run: it is not written, and any two are equal.
#[derive(Clone, Debug, Default)]
pub struct ReadFrom {
    file: Option<PathBuf>,
    /// The settings that are not as the file has them.
    replaced: Vec<&'static str>,
}

impl PartialEq for ReadFrom {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl From<&Path> for ReadFrom {
    fn from(file: &Path) -> Self {
        Self {
            file: Some(file.to_owned()),
            replaced: Vec::new(),
        }
    }
}

impl ReadFrom {
    /// Notes that a setting, or a table of them, by its full name, has another value than in the
    /// file: an error about it does not name the file.
    pub fn replace(&mut self, setting: &'static str) {
        self.replaced.push(setting);
    }

    fn is_replaced(&self, error: &Error) -> bool {
        let name = match error {
            Error::Setting { name, .. } => name,
            Error::Device(_) => "device",
            _ => return false,
        };
        self.replaced.iter().any(|replaced| {
            let below = name.strip_prefix(replaced);
            below.is_some_and(|below| below.is_empty() || below.starts_with('.'))
        })
    }

    /// The error with the name of the file in front, where it is one of a setting.
    pub(crate) fn named(&self, error: Error) -> Error {
        if self.is_replaced(&error) {
            return error;
        }
        match (&self.file, error) {
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
        let mut replaced = file.clone();
        replaced.replace("data.source");
        replaced.replace("fine_tune.steps");
        for (name, is_of_file) in [
            ("fine_tune.steps", false),
            ("data.source.path", false),
            ("data.sources", true),
            ("fine_tune.out", true),
        ] {
            let error = replaced.named(Error::setting(name, "is empty")).to_string();
            assert_eq!(error.starts_with("run file "), is_of_file, "{error}");
        }
        let code = ReadFrom::default().named(Error::setting("out", "is empty"));
        assert_eq!(code.to_string(), "`out` is empty");
    }
}
