//! The name of a model on the hub.

use std::fmt;
use std::path::Path;

/// A model on the hub, at a revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HubName {
    /// `ORG/NAME`.
    pub(super) repo: String,
    /// A branch, a tag or a commit.
    pub(super) revision: String,
}

impl HubName {
    /// Reads `ORG/NAME` or `ORG/NAME@REVISION`; nothing for what can only be a path.
    pub(super) fn parse(path: &Path) -> Option<Self> {
        let text = path.to_str()?;
        let (repo, revision) = text.split_once('@').unwrap_or((text, "main"));
        let (org, name) = repo.split_once('/')?;
        let parts = revision.split('/');
        let fits = is_part(org) && is_part(name) && parts.into_iter().all(is_part);
        fits.then(|| Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }

    /// Whether the revision is a commit, whose files never change.
    pub(super) fn is_commit(&self) -> bool {
        self.revision.len() == 40 && self.revision.bytes().all(|byte| byte.is_ascii_hexdigit())
    }
}

/// Whether a text may stand between the slashes of a name, and for a file's name.
pub(super) fn is_part(text: &str) -> bool {
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !text.is_empty() && !text.starts_with('.') && text.len() <= 200 && text.bytes().all(letters)
}

impl fmt::Display for HubName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.repo)?;
        match self.revision.as_str() {
            "main" => Ok(()),
            revision => write!(f, "@{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_paths() {
        let parse = |text: &str| HubName::parse(Path::new(text));
        let name = parse("Qwen/Qwen2-VL-2B-Instruct").unwrap();
        assert_eq!(
            (name.repo.as_str(), name.revision.as_str()),
            ("Qwen/Qwen2-VL-2B-Instruct", "main")
        );
        let name = parse("a/b@refs/pr/1").unwrap();
        assert_eq!(
            (name.repo.as_str(), name.revision.as_str()),
            ("a/b", "refs/pr/1")
        );
        assert_eq!(name.to_string(), "a/b@refs/pr/1");
        assert!(
            parse(&format!("a/b@{}", "0a".repeat(20)))
                .unwrap()
                .is_commit()
        );
        for path in [
            "model", "/a/b", "./a", "../a", "a/b/c", "a/", "a/b@", "a/b@../x", "a b/c", "a\\b", "",
        ] {
            assert_eq!(parse(path), None, "{path}");
        }
    }
}
