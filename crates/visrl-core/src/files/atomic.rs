//! Files and folders that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::FileError;

/// Writes a folder atomically: `fill` writes into a temporary folder beside it, every file is
/// synced, and the folder takes its place by a rename. A folder that was there before is replaced
/// as a whole; when anything fails it stays as it was.
///
/// On Linux the two folders change places in one step, so that a process that is killed at any
/// moment leaves the old folder or the new one. Elsewhere, and on file systems that cannot do
/// that, the old folder is moved aside first: for a moment there is none. A killed process may
/// leave a folder `.saving-*` behind.
///
/// # Errors
/// [`FileError::Io`] with the path, or what `fill` returns.
pub fn write_dir<E: From<FileError>>(
    dir: &Path,
    fill: impl FnOnce(&Path) -> Result<(), E>,
) -> Result<(), E> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| FileError::Io { path, source }
    };
    let parent = parent_of(dir);
    fs::create_dir_all(&parent).map_err(at(&parent))?;
    let temporary = tempfile::Builder::new()
        .prefix(".saving-")
        .tempdir_in(&parent)
        .map_err(at(&parent))?;
    let new = temporary.path().join("new");
    fs::create_dir(&new).map_err(at(&new))?;
    fill(&new)?;
    for entry in fs::read_dir(&new).map_err(at(&new))? {
        let path = entry.map_err(at(&new))?.path();
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))?;
    }
    sync_folder(&new);
    if dir.exists() {
        replace(&new, dir, &temporary.path().join("old"))?;
    } else {
        fs::rename(&new, dir).map_err(at(dir))?;
    }
    // The rename itself must reach the disk, too.
    sync_folder(&parent);
    Ok(())
}

/// Writes a file atomically: a temporary file beside it, synced, then renamed.
///
/// # Errors
/// [`FileError::Io`] with the path.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    write_file_with(path, |file| file.write_all(bytes))
}

/// Writes a file atomically, as [`write_file`], in pieces: what `write` writes becomes the file
/// when it ends well, and otherwise the old file stays as it was.
///
/// # Errors
/// [`FileError::Io`] with the path, for what `write` returns too.
pub fn write_file_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> io::Result<()>,
) -> Result<(), FileError> {
    let parent = parent_of(path);
    let whole = || -> io::Result<()> {
        fs::create_dir_all(&parent)?;
        let mut file = builder().tempfile_in(&parent)?;
        let mut writer = BufWriter::new(file.as_file_mut());
        write(&mut writer)?;
        writer.flush()?;
        drop(writer);
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    whole().map_err(|source| FileError::io(path, source))
}

fn parent_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Puts `new` in the place of `dir`; what was there is left to be removed with the temporary
/// folder.
fn replace(new: &Path, dir: &Path, old: &Path) -> Result<(), FileError> {
    let failed = |source| FileError::io(dir, source);
    if exchange(new, dir).map_err(failed)? {
        return Ok(());
    }
    fs::rename(dir, old).map_err(failed)?;
    if let Err(source) = fs::rename(new, dir) {
        fs::rename(old, dir).map_err(failed)?;
        return Err(failed(source));
    }
    Ok(())
}

/// Lets two paths change places in one step; `false` where the system cannot do that.
#[cfg(target_os = "linux")]
fn exchange(a: &Path, b: &Path) -> io::Result<bool> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> io::Result<bool> {
    Ok(false)
}

/// Folders cannot be synced everywhere, and where they can it is not needed for wholeness.
fn sync_folder(path: &Path) {
    if let Ok(handle) = File::open(path) {
        let _ = handle.sync_all();
    }
}

/// Temporary files are made for their owner alone; what they become is for all that the user's
/// mask allows.
#[cfg(unix)]
fn builder() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
fn builder() -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}

/// Gives a file the permissions of a newly made one.
///
/// # Errors
/// What the system says.
pub fn make_readable(path: &Path) -> io::Result<()> {
    let sample = builder().tempfile_in(parent_of(path))?;
    fs::set_permissions(path, sample.as_file().metadata()?.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(dir: &Path, name: &str, text: &str) -> Result<(), FileError> {
        write_dir(dir, |new| {
            fs::write(new.join(name), text).map_err(|source| FileError::io(new, source))
        })
    }

    #[test]
    fn a_failed_write_leaves_the_old_folder() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("checkpoint");
        write(&dir, "a", "1").unwrap();
        let failed = write_dir(&dir, |new| {
            fs::write(new.join("a"), "2").map_err(|source| FileError::io(new, source))?;
            Err(FileError::damaged(new, "interrupted"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_rubbish() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        write_file(&path, b"old").unwrap();
        let error = write_file_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert!(error.unwrap_err().to_string().ends_with("file: disk full"));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_folder_replaces_the_old_one_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("checkpoint");
        for name in ["a", "b"] {
            write(&dir, name, name).unwrap();
        }
        assert!(!dir.join("a").exists() && dir.join("b").exists());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_way_without_an_exchange_does_the_same() {
        let root = tempfile::tempdir().unwrap();
        let [new, dir, old] = ["new", "dir", "old"].map(|name| root.path().join(name));
        for path in [&new, &dir] {
            fs::create_dir(path).unwrap();
        }
        fs::write(new.join("b"), "b").unwrap();
        replace(&new, &dir, &old).unwrap();
        assert!(dir.join("b").exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn paths_change_places_in_one_step() {
        let root = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| root.path().join(name));
        fs::create_dir(&a).unwrap();
        fs::write(&b, "b").unwrap();
        if exchange(&a, &b).unwrap() {
            assert!(a.is_file() && b.is_dir());
        }
        assert!(exchange(&a, &root.path().join("none")).is_err());
    }
}
