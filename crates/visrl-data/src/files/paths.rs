use std::ffi::OsString;
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
    field: &str,
) -> Result<PathBuf, Error> {
    if stays_below(value) {
        return Ok(folder.join(value));
    }
    Err(Error::ImagePath {
        path: file.to_path_buf(),
        row: row(),
        field: field.into(),
        value: value.to_owned(),
    })
}

/// What a folder's entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A file, or a link to one.
    File,
    /// A folder.
    Folder,
    /// A link to a folder.
    LinkedFolder,
    /// A link that leads nowhere.
    BrokenLink,
    /// What can hold no data: a pipe, a device.
    Other,
}

/// The entries of a folder by name, without those that are hidden or that a system left behind.
pub(crate) fn entries(folder: &Path, hint: &str) -> Result<Vec<(OsString, Kind)>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder, hint))? {
        let entry = entry.map_err(Error::io(folder, hint))?;
        if is_left_behind(&entry.file_name().to_string_lossy()) {
            continue;
        }
        let path = entry.path();
        let mut kind = entry.file_type().map_err(Error::io(&path, hint))?;
        let is_link = kind.is_symlink();
        if is_link {
            match std::fs::metadata(&path) {
                Ok(target) => kind = target.file_type(),
                Err(_) => {
                    found.push((entry.file_name(), Kind::BrokenLink));
                    continue;
                }
            }
        }
        let kind = match (kind.is_dir(), kind.is_file(), is_link) {
            (true, _, false) => Kind::Folder,
            (true, _, true) => Kind::LinkedFolder,
            (_, true, _) => Kind::File,
            _ => Kind::Other,
        };
        found.push((entry.file_name(), kind));
    }
    found.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
    Ok(found)
}

/// The entries of a folder that are folders (or files), by name, as [`entries`] gives them.
pub(crate) fn list(folder: &Path, folders: bool, hint: &str) -> Result<Vec<String>, Error> {
    let wanted = |kind| match folders {
        true => matches!(kind, Kind::Folder | Kind::LinkedFolder),
        false => kind == Kind::File,
    };
    let found = entries(folder, hint)?.into_iter();
    let names = found.filter(|(_, kind)| wanted(*kind));
    names.map(|(name, _)| utf8(folder, name)).collect()
}

/// The name of an entry as text.
pub(crate) fn utf8(folder: &Path, name: OsString) -> Result<String, Error> {
    name.into_string().map_err(|name| Error::Row {
        path: folder.to_path_buf(),
        row: name.to_string_lossy().into_owned(),
        field: "name".into(),
        message: "is not UTF-8; rename it".into(),
    })
}

/// Whether a name is hidden, or one of those that systems and programs leave in folders and
/// archives: these are no data.
fn is_left_behind(name: &str) -> bool {
    const LEFT: [&str; 12] = [
        "__macosx",
        "__pycache__",
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "icon\r",
        "@eadir",
        "#recycle",
        "$recycle.bin",
        "system volume information",
        "lost+found",
    ];
    name.starts_with('.') || LEFT.contains(&&*name.to_lowercase())
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

    #[test]
    fn what_systems_leave_behind_is_no_data() {
        let root = tempfile::tempdir().unwrap();
        for folder in ["__MACOSX", "@eaDir", ".ipynb_checkpoints", "kite", "drum"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        for file in [
            ".DS_Store",
            "Thumbs.db",
            "desktop.ini",
            "._a.png",
            "b.png",
            "a.png",
        ] {
            std::fs::write(root.path().join(file), b"").unwrap();
        }
        let list = |folders| list(root.path(), folders, "a folder").unwrap();
        assert_eq!(list(true), ["drum", "kite"]);
        assert_eq!(list(false), ["a.png", "b.png"]);
    }

    proptest! {
        #[test]
        fn a_joined_path_never_leaves_its_folder(value in "[./a\\\\:]{0,12}|.{0,12}") {
            if let Ok(path) = join_below(Path::new("root"), &value, Path::new("f"), String::new, "x") {
                prop_assert!(path.starts_with("root"));
                prop_assert!(!path.components().any(|part| part == Component::ParentDir));
            }
        }
    }
}
