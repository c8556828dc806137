//! The folder of a run: one run at a time, and nothing of an earlier run beside a later one's.

use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};

use visrl_core::files::FileError;

use crate::error::Error;
use crate::model_card::is_own_card;
use crate::run_files::{
    FILES, LOCK, MODELS, OTHER_FOLDERS, entries, foreign, is_of_model, is_sample, name, was_run,
};

/// Begins the names of folders that a killed process was writing.
const SAVING: &str = ".saving-";
/// Begins the names of folders of models that were set aside.
const EARLIER: &str = ".earlier-";

/// The folder of the run that is going on. The system gives the lock back when the process ends,
/// however it ends.
#[derive(Debug)]
pub(crate) struct RunFolder {
    dir: PathBuf,
    _lock: Option<File>,
}

impl RunFolder {
    /// Finds out what is wrong with a folder before it is touched; `read` are files that the run
    /// reads, which must not be among those that it replaces.
    pub(crate) fn check<P: AsRef<Path>>(
        dir: &Path,
        read: impl IntoIterator<Item = P>,
    ) -> Result<(), Error> {
        let fault = |message: String| Err(Error::setting("fine_tune.out", message));
        if dir.as_os_str().is_empty() {
            return fault("is empty: name a folder".to_owned());
        }
        let shown = dir.display();
        let mut above = dir.ancestors();
        let file = above
            .find(|path| path.exists())
            .filter(|path| !path.is_dir());
        if let Some(file) = file {
            let file = file.display();
            return fault(format!("is {shown}, but {file} is a file: name a folder"));
        }
        let Ok(out) = dir.canonicalize() else {
            return Ok(());
        };
        for path in read {
            let Ok(path) = path.as_ref().canonicalize() else {
                continue;
            };
            let mut folders = MODELS.iter().chain(&OTHER_FOLDERS);
            let replaced = folders.any(|name| path.starts_with(out.join(name)))
                || FILES.iter().any(|name| path == out.join(name));
            if replaced {
                let path = path.display();
                return fault(format!(
                    "is {shown}, which holds what the run reads, {path}: name another folder, as a \
                     run replaces what an earlier one left"
                ));
            }
        }
        match foreign(&out)? {
            Some(name) => fault(format!(
                "is {shown}, where `{name}` is no run's and would be replaced: name another folder"
            )),
            None => Ok(()),
        }
    }

    /// Checks that a run was begun in a folder, which is to go on.
    pub(crate) fn check_begun(dir: &Path) -> Result<(), Error> {
        let what = match dir.is_dir() {
            true if was_run(dir) || dir.join("checkpoints").is_dir() => return Ok(()),
            true => "holds no run",
            false => "does not exist",
        };
        let message = format!(
            "is {}, which {what}: there is nothing to resume; name the folder of a run, or begin one \
             without `resume`",
            dir.display()
        );
        Err(Error::setting("fine_tune.out", message))
    }

    /// Takes the folder, which is made where it is not there.
    pub(crate) fn lock(dir: &Path) -> Result<Self, Error> {
        fs::create_dir_all(dir).map_err(|source| FileError::io(dir, source))?;
        let path = dir.join(LOCK);
        let failed = |source| FileError::io(&path, source);
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut file = options.open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let _ = (&mut file).take(32).read_to_string(&mut holder);
                let holder = match holder.trim() {
                    "" => String::new(),
                    process => format!(" (process {process})"),
                };
                let message = format!(
                    "another run{holder} is going on in this folder: wait for its end, or name \
                     another folder (`out`)"
                );
                return Err(Error::file(dir, message));
            }
            Err(TryLockError::Error(source)) if source.kind() == ErrorKind::Unsupported => {
                tracing::warn!(
                    "{}: this file system has no locks: let one run at a time use the folder",
                    dir.display()
                );
                return Ok(Self {
                    dir: dir.to_owned(),
                    _lock: None,
                });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source).into()),
        }
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write().map_err(failed)?;
        Ok(Self {
            dir: dir.to_owned(),
            _lock: Some(file),
        })
    }

    /// Removes what an earlier run left, when its checkpoints are removed. Other files stay.
    pub(crate) fn clear(&self) -> Result<(), Error> {
        for name in FILES {
            remove(&self.dir.join(name))?;
        }
        for name in MODELS {
            self.clear_below(name, is_of_model)?;
        }
        self.clear_below("samples", is_sample)?;
        self.clear_below("checkpoints", |_| false)?;
        for path in entries(&self.dir)? {
            let is_own = [SAVING, EARLIER]
                .iter()
                .any(|own| name(&path).starts_with(own));
            if is_own && path.is_dir() {
                fs::remove_dir_all(&path).map_err(|source| FileError::io(&path, source))?;
            }
        }
        Ok(())
    }

    /// Lets `save` write a model's folder, which it replaces whole; files of other kinds that are
    /// in it stay.
    pub(crate) fn replace<E: From<FileError>>(
        &self,
        name: &str,
        save: impl FnOnce(&Path) -> Result<(), E>,
    ) -> Result<(), E> {
        let dir = self.dir.join(name);
        let others: Vec<_> = entries(&dir)?
            .into_iter()
            .filter(|path| !is_of_model(path))
            .collect();
        if others.is_empty() {
            return save(&dir);
        }
        let aside = self.dir.join(format!(".kept-{name}"));
        fs::create_dir_all(&aside).map_err(|source| FileError::io(&aside, source))?;
        for path in &others {
            rename(path, &aside)?;
        }
        let saved = save(&dir);
        for path in entries(&aside)? {
            rename(&path, &dir)?;
        }
        fs::remove_dir(&aside).map_err(|source| FileError::io(&aside, source))?;
        saved
    }

    /// Keeps a copy of a model's folder, which is about to be replaced; nothing where there is none.
    /// Its card, which tells of an end that is passed, stays behind.
    pub(crate) fn set_aside(&self, name: &str) -> Result<(), FileError> {
        let own = entries(&self.dir.join(name))?.into_iter();
        let own = own.filter(|path| is_of_model(path) && !is_own_card(path));
        let own: Vec<_> = own.collect();
        if own.is_empty() {
            return Ok(());
        }
        let copy = self.dir.join(format!("{SAVING}{name}"));
        let aside = self.dir.join(format!("{EARLIER}{name}"));
        remove_folder(&copy)?;
        remove_folder(&aside)?;
        fs::create_dir_all(&copy).map_err(|source| FileError::io(&copy, source))?;
        for path in own {
            let to = copy.join(path.file_name().unwrap_or_default());
            fs::copy(&path, &to).map_err(|source| FileError::io(&to, source))?;
        }
        fs::rename(&copy, &aside).map_err(|source| FileError::io(&aside, source))
    }

    /// Puts back a model that was set aside, where one was.
    pub(crate) fn take_back(&self, name: &str) -> Result<(), FileError> {
        let aside = self.dir.join(format!("{EARLIER}{name}"));
        if !aside.is_dir() {
            return Ok(());
        }
        let dir = self.dir.join(name);
        fs::create_dir_all(&dir).map_err(|source| FileError::io(&dir, source))?;
        for path in entries(&aside)? {
            rename(&path, &dir)?;
        }
        remove_folder(&aside)
    }

    fn clear_below(&self, name: &str, is_own: fn(&Path) -> bool) -> Result<(), Error> {
        let dir = self.dir.join(name);
        let (own, others): (Vec<_>, Vec<_>) = entries(&dir)?.into_iter().partition(|p| is_own(p));
        for path in own {
            remove(&path)?;
        }
        if others.is_empty() && dir.is_dir() {
            fs::remove_dir(&dir).map_err(|source| FileError::io(&dir, source))?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::io(path, error)),
        _ => Ok(()),
    }
}

fn remove_folder(path: &Path) -> Result<(), FileError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(FileError::io(path, error)),
        _ => Ok(()),
    }
}

fn rename(path: &Path, folder: &Path) -> Result<(), FileError> {
    let to = folder.join(path.file_name().unwrap_or_default());
    fs::rename(path, &to).map_err(|source| FileError::io(&to, source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model_card::MARK;

    fn write(dir: &Path, names: &[&str]) {
        for name in names {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, name).unwrap();
        }
    }

    fn left(dir: &Path) -> Vec<String> {
        let mut found = Vec::new();
        for path in entries(dir).unwrap() {
            match path.is_dir() {
                true => found.extend(left(&path).iter().map(|n| format!("{}/{n}", name(&path)))),
                false => found.push(name(&path)),
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_folder_has_one_holder_and_is_free_again_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("a/run");
        let held = RunFolder::lock(&out).unwrap();
        let error = RunFolder::lock(&out).unwrap_err().to_string();
        let process = std::process::id().to_string();
        assert!(
            error.contains("a/run: another run (process ") && error.contains(&process),
            "{error}"
        );
        drop(held);
        RunFolder::lock(&out).unwrap();
    }

    #[test]
    fn what_a_run_left_goes_and_what_it_did_not_stays() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::lock(dir.path()).unwrap();
        write(dir.path(), &FILES);
        let own = [
            "model/model.safetensors",
            "best/config.json",
            "adapter/adapter_config.json",
            "samples/0.png",
            "samples/12.jpg",
            ".saving-x/new/a",
        ];
        let others = [
            "notes.txt",
            "model/README.md",
            "samples/mine.png",
            "table.csv",
        ];
        write(dir.path(), &own);
        write(dir.path(), &others);
        folder.clear().unwrap();
        let mut expected: Vec<String> = others.map(String::from).to_vec();
        expected.push(LOCK.into());
        expected.sort();
        assert_eq!(left(dir.path()), expected);
        let saved = folder.replace("model", |model| {
            fs::remove_dir_all(model).unwrap();
            write(dir.path(), &["model/config.json"]);
            Ok::<_, FileError>(())
        });
        saved.unwrap();
        assert_eq!(
            left(&dir.path().join("model")),
            ["README.md", "config.json"]
        );
        assert!(!dir.path().join(".kept-model").exists());
    }

    #[test]
    fn a_folder_without_a_run_has_nothing_to_go_on_with() {
        let dir = tempfile::tempdir().unwrap();
        let gone = dir.path().join("gone");
        for (path, what) in [
            (gone.as_path(), "does not exist"),
            (dir.path(), "holds no run"),
        ] {
            let error = RunFolder::check_begun(path).unwrap_err().to_string();
            let shown = path.display();
            assert!(
                error.starts_with(&format!("`fine_tune.out` is {shown}, which {what}: ")),
                "{error}"
            );
        }
        assert!(!gone.exists());
        // One that was ended before its first checkpoint.
        drop(RunFolder::lock(dir.path()).unwrap());
        assert!(RunFolder::check_begun(dir.path()).is_ok());
    }

    #[test]
    fn a_model_that_was_set_aside_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::lock(dir.path()).unwrap();
        let best = dir.path().join("best");
        folder.set_aside("best").unwrap();
        folder.take_back("best").unwrap();
        assert!(!best.exists());
        write(dir.path(), &["best/model.safetensors", "best/notes.txt"]);
        folder.set_aside("best").unwrap();
        fs::write(best.join("model.safetensors"), "later").unwrap();
        folder.take_back("best").unwrap();
        let back = fs::read_to_string(best.join("model.safetensors")).unwrap();
        assert_eq!(back, "best/model.safetensors");
        assert_eq!(left(&best), ["model.safetensors", "notes.txt"]);
        // A card tells of an end that a longer run passes.
        let card = format!("{MARK}\n");
        fs::write(best.join("README.md"), card).unwrap();
        folder.set_aside("best").unwrap();
        assert_eq!(
            left(&dir.path().join(".earlier-best")),
            ["model.safetensors"]
        );
        fs::remove_file(best.join("README.md")).unwrap();
        folder.clear().unwrap();
        assert_eq!(left(dir.path()), [LOCK, "best/notes.txt"]);
    }

    #[test]
    fn a_file_in_the_way_and_what_the_run_reads_and_would_replace_are_named() {
        let dir = tempfile::tempdir().unwrap();
        const OWN: [&str; 4] = [
            "run/model/config.json",
            "run/config.json",
            "run/samples.jsonl",
            "run/checkpoints/step-1/kite.png",
        ];
        write(dir.path(), &OWN);
        write(dir.path(), &["file", "run/photos/kite.png"]);
        let check = |out: &str, read: &str| {
            let (out, read) = (dir.path().join(out), dir.path().join(read));
            RunFolder::check(&out, [read]).map_err(|e| e.to_string())
        };
        for out in ["file", "file/run"] {
            let error = check(out, "run/model/config.json").unwrap_err();
            assert!(error.starts_with("`fine_tune.out` is ") && error.contains("is a file"));
        }
        let empty = RunFolder::check(Path::new(""), ["x"]).unwrap_err();
        assert_eq!(empty.to_string(), "`fine_tune.out` is empty: name a folder");
        for read in OWN {
            let error = check("run", read).unwrap_err();
            assert!(error.contains("holds what the run reads"), "{error}");
        }
        let error = check("run", "run/photos/kite.png").unwrap_err();
        assert!(error.contains("`config.json` is no run's"), "{error}");
        for own in [
            ".lock",
            "run.toml",
            "model/model.safetensors",
            "best/config.json",
            "adapter/adapter_model.safetensors",
            "samples/0.png",
            "checkpoints/step-1",
        ] {
            let folder = tempfile::tempdir().unwrap();
            write(folder.path(), &[own, "notes.txt", "model/notes.txt"]);
            let error = RunFolder::check::<&Path>(folder.path(), []).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(&format!("`{own}` is no run's")), "{error}");
        }
        fs::write(dir.path().join("run/.lock"), "12\n").unwrap();
        assert_eq!(check("run", "run/photos/kite.png"), Ok(()));
        assert_eq!(check("other", "run/model/config.json"), Ok(()));
    }
}
