//! Which pictures a folder or a list names.

use std::fs;
use std::path::{Path, PathBuf};

use visrl_core::files::{FileError, for_each_line};

use crate::error::Error;

/// Endings of files that are taken for pictures. Those that cannot be decoded give an answer that
/// says so.
const ENDINGS: [&str; 12] = [
    "png", "jpg", "jpeg", "jpe", "jfif", "webp", "bmp", "gif", "tif", "tiff", "heic", "avif",
];

/// The longest line of a list in bytes.
const MAX_LINE: u64 = 1 << 16;

/// The pictures of a folder, those of folders in it included, by their paths in the order of their
/// names; or those that a list names, a path a line, in its order. Paths in a list are relative to
/// its folder; empty lines are passed over.
///
/// Hidden files and folders, whose names begin with a dot, and links to folders are left out.
///
/// # Errors
/// [`Error::Files`] for a folder or a list that cannot be read; [`Error::File`] where there is no
/// picture, or a line is not UTF-8.
pub fn pictures(path: impl AsRef<Path>) -> Result<Vec<PathBuf>, Error> {
    let path = path.as_ref();
    let mut found = Vec::new();
    if path.is_dir() {
        walk(path, &mut found)?;
        if found.is_empty() {
            let endings = ENDINGS.join(", ");
            return Err(Error::file(path, format!("holds no picture ({endings})")));
        }
        return Ok(found);
    }
    if path.extension().is_some_and(is_of_picture) && path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    for_each_line(path, MAX_LINE, |line, text| {
        let text = std::str::from_utf8(text).map_err(|_| {
            let message = format!("line {line}: is not UTF-8; a list has a picture's path a line");
            Error::file(path, message)
        })?;
        found.push(folder.join(text));
        Ok::<_, Error>(())
    })?;
    match found.is_empty() {
        true => Err(Error::file(
            path,
            "names no picture; a list has a path a line",
        )),
        false => Ok(found),
    }
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let failed = |source| FileError::io(dir, source);
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push((entry.path(), entry.file_type().map_err(failed)?));
        }
    }
    paths.sort_by(|(a, _), (b, _)| a.cmp(b));
    for (path, kind) in paths {
        if kind.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(is_of_picture) && !path.is_dir() {
            found.push(path);
        }
    }
    Ok(())
}

fn is_of_picture(ending: &std::ffi::OsStr) -> bool {
    let ending = ending.to_string_lossy().to_lowercase();
    ENDINGS.contains(&ending.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in names {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
        dir
    }

    fn names(dir: &Path, found: &[PathBuf]) -> Vec<String> {
        let inside = found.iter().map(|path| path.strip_prefix(dir).unwrap());
        inside.map(|path| path.display().to_string()).collect()
    }

    #[test]
    fn a_folder_is_read_to_its_depth_in_order() {
        let dir = folder(&[
            "b.PNG",
            "a/2.jpg",
            "a/10.jpg",
            "notes.txt",
            ".x.png",
            ".y/z.png",
        ]);
        let found = pictures(dir.path()).unwrap();
        assert_eq!(names(dir.path(), &found), ["a/10.jpg", "a/2.jpg", "b.PNG"]);
        let error = pictures(folder(&["notes.txt"]).path()).unwrap_err();
        assert!(error.to_string().contains("holds no picture"), "{error}");
    }

    #[test]
    fn a_list_names_pictures_beside_it() {
        let dir = folder(&["a.png"]);
        let list = dir.path().join("list.txt");
        fs::write(&list, "b.png\n\na.png\n").unwrap();
        assert_eq!(
            names(dir.path(), &pictures(&list).unwrap()),
            ["b.png", "a.png"]
        );
        assert_eq!(pictures(dir.path().join("a.png")).unwrap().len(), 1);
        fs::write(&list, "\n").unwrap();
        assert!(pictures(&list).is_err());
        fs::write(&list, b"\xff\n").unwrap();
        let error = pictures(&list).unwrap_err().to_string();
        assert!(error.contains("line 1"), "{error}");
        let error = pictures(dir.path().join("none")).unwrap_err().to_string();
        assert!(error.contains("none"), "{error}");
    }
}
