//! A revision of a model in the hub's cache.
//!
//! As the hub's own tools lay it out: below `models--ORG--NAME`, `refs/REVISION` holds a commit,
//! `snapshots/COMMIT` links to the files' contents in `blobs`, and `.no_exist/COMMIT` holds an empty
//! file for each that the model is known not to have.

use std::fs;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo, RepoType};

use super::hub_name::{HubName, is_part};
use crate::checkpoint::checkpoint_files::FILES;
use crate::checkpoint::weights::weight_files::{INDEX, SINGLE, WeightFiles};

/// The file that no model is without.
pub(super) const CONFIG: &str = "config.json";

/// A model's place in the cache.
#[derive(Clone, Debug)]
pub(super) struct CachedModel {
    /// The model's folder, `models--ORG--NAME`.
    pub(super) folder: PathBuf,
    name: HubName,
}

/// What there is of a revision.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// All that a model needs.
    Whole(PathBuf),
    /// Configuration and weights; whether the model has more small files is not known.
    Usable(PathBuf),
    /// A part of it, or nothing: the first file that is missing.
    Lacks(String),
}

impl CachedModel {
    /// The place of a model.
    pub(super) fn new(cache: &Cache, name: &HubName) -> Self {
        let repo = Repo::new(name.repo.clone(), RepoType::Model);
        Self {
            folder: cache.path().join(repo.folder_name()),
            name: name.clone(),
        }
    }

    /// What there is of the revision.
    pub(super) fn find(&self) -> Found {
        let commit = match self.name.is_commit() {
            true => Some(self.name.revision.clone()),
            false => fs::read_to_string(self.reference()).ok(),
        };
        let commit = commit.as_deref().map(str::trim).filter(|c| is_part(c));
        let Some(commit) = commit else {
            return Found::Lacks(CONFIG.to_owned());
        };
        let snapshot = self.snapshot(commit);
        if !snapshot.join(CONFIG).exists() {
            return Found::Lacks(CONFIG.to_owned());
        }
        match weights(&snapshot) {
            Err(file) => Found::Lacks(file),
            Ok(()) if self.knows_all(commit, &snapshot) => Found::Whole(snapshot),
            Ok(()) => Found::Usable(snapshot),
        }
    }

    fn knows_all(&self, commit: &str, snapshot: &Path) -> bool {
        let absent = self.absent(commit);
        let known = |name: &&str| snapshot.join(name).exists() || absent.join(name).exists();
        FILES.iter().all(known)
    }

    /// The file that holds the revision's commit.
    pub(super) fn reference(&self) -> PathBuf {
        self.folder.join("refs").join(&self.name.revision)
    }

    /// The folder of a commit's files.
    pub(super) fn snapshot(&self, commit: &str) -> PathBuf {
        self.folder.join("snapshots").join(commit)
    }

    /// The folder of what a commit is known not to have.
    pub(super) fn absent(&self, commit: &str) -> PathBuf {
        self.folder.join(".no_exist").join(commit)
    }
}

/// Whether all weights are there; the first that is not.
fn weights(snapshot: &Path) -> Result<(), String> {
    let index = snapshot.join(INDEX);
    if snapshot.join(SINGLE).exists() {
        return Ok(());
    }
    if !index.exists() {
        return Err(SINGLE.to_owned());
    }
    let files = WeightFiles::read_index(&index).map_err(|_| INDEX.to_owned())?;
    let missing = files.names.into_iter();
    let missing = missing.filter(|name| !snapshot.join(name).exists());
    missing.take(1).try_for_each(Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn a_revision_is_whole_when_nothing_can_be_missing() {
        let dir = tempfile::tempdir().unwrap();
        let name = HubName::parse(Path::new("org/net@v1")).unwrap();
        let model = CachedModel::new(&Cache::new(dir.path().into()), &name);
        assert!(model.folder.ends_with("models--org--net"));
        let lacks = |file: &str| Found::Lacks(file.to_owned());
        assert_eq!(model.find(), lacks(CONFIG));
        write(&model.reference(), "abc\n");
        let snapshot = model.snapshot("abc");
        assert_eq!(model.find(), lacks(CONFIG));
        write(&snapshot.join(CONFIG), "{}");
        assert_eq!(model.find(), lacks(SINGLE));
        write(
            &snapshot.join(INDEX),
            r#"{"weight_map": {"a": "1.safetensors"}}"#,
        );
        assert_eq!(model.find(), lacks("1.safetensors"));
        write(&snapshot.join("1.safetensors"), "");
        assert_eq!(model.find(), Found::Usable(snapshot.clone()));
        for file in FILES.iter().filter(|file| **file != CONFIG) {
            write(&model.absent("abc").join(file), "");
        }
        assert_eq!(model.find(), Found::Whole(snapshot));
        // A reference that leads elsewhere is none.
        write(&model.reference(), "../../x");
        assert_eq!(model.find(), lacks(CONFIG));
    }

    #[test]
    fn a_commit_needs_no_reference() {
        let dir = tempfile::tempdir().unwrap();
        let commit = "0123456789".repeat(4);
        let name = HubName::parse(Path::new(&format!("org/net@{commit}"))).unwrap();
        let model = CachedModel::new(&Cache::new(dir.path().into()), &name);
        let snapshot = model.snapshot(&commit);
        write(&snapshot.join(CONFIG), "{}");
        write(&snapshot.join(SINGLE), "");
        assert_eq!(model.find(), Found::Usable(snapshot));
    }
}
