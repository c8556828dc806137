use std::path::{Component, Path, PathBuf};

use crate::error::Error;

/// Whether a row's path stays below the folder it is relative to.
fn stays_below(value: &str) -> bool {
    let windows_root = value.starts_with('\\') || value.get(1..2) == Some(":");
    let parent = value.split(['/', '\\']).any(|part| part == "..");
    let parts = Path::new(value).components();
    !value.is_empty()
        && !windows_root
        && !parent
        && parts
            .into_iter()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// Joins a path from a row of a file to a folder.
pub(crate) fn join_below(
    folder: &Path,
    value: &str,
    file: &Path,
    row: impl FnOnce() -> String,
) -> Result<PathBuf, Error> {
    if stays_below(value) {
        return Ok(folder.join(value));
    }
    Err(Error::ImagePath {
        path: file.to_path_buf(),
        row: row(),
        value: value.to_owned(),
    })
}

/// The entries of a folder that are folders (or files), by name; hidden ones are left out.
pub(crate) fn list(folder: &Path, folders: bool, hint: &str) -> Result<Vec<String>, Error> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, hint))? {
        let entry = entry.map_err(Error::io(folder, hint))?;
        let path = entry.path();
        // `is_dir` follows links, which are common in data folders.
        let wanted = if folders {
            path.is_dir()
        } else {
            path.is_file()
        };
        if wanted {
            let name = entry.file_name().into_string().map_err(|name| Error::Row {
                path: folder.to_path_buf(),
                row: name.to_string_lossy().into_owned(),
                field: "name",
                message: "is not UTF-8; rename it".into(),
            })?;
            if !name.starts_with('.') {
                names.push(name);
            }
        }
    }
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_paths_below_the_folder_pass() {
        for good in ["a.jpg", "a/b c/d.jpg", "./a.jpg", "n01/..a..jpg"] {
            assert!(stays_below(good), "{good}");
        }
        for bad in [
            "",
            "/a.jpg",
            "../a.jpg",
            "a/../../b",
            "a/..",
            "C:\\a",
            "\\\\host\\a",
            "a\\..\\b",
        ] {
            assert!(!stays_below(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_joined_path_never_leaves_its_folder(value in "[./a\\\\:]{0,12}|.{0,12}") {
            if let Ok(path) = join_below(Path::new("root"), &value, Path::new("f"), String::new) {
                prop_assert!(path.starts_with("root"));
                prop_assert!(!path.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}
