//! The files that a run writes into its folder, told from those of others.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use visrl_core::files::FileError;

use crate::model_card::is_own_card;

/// Held by the run that uses the folder.
pub(crate) const LOCK: &str = ".lock";
/// The files that a run writes, and that of the report beside them.
pub(crate) const FILES: [&str; 8] = [
    "run.toml",
    "config.json",
    "metrics.jsonl",
    "events.out.tfevents",
    "samples.jsonl",
    "evaluation.json",
    "summary.json",
    "report.html",
];
/// The folders of models and adapters that a run writes.
pub(crate) const MODELS: [&str; 3] = ["model", "best", "adapter"];
/// Its other folders.
pub(crate) const OTHER_FOLDERS: [&str; 2] = ["checkpoints", "samples"];
/// Endings of the files of a model or an adapter, and its files with other endings.
const MODEL_ENDINGS: [&str; 3] = ["safetensors", "json", "jinja"];
const MODEL_FILES: [&str; 3] = ["merges.txt", "vocab.txt", "tokenizer.model"];
pub(crate) fn name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn ending(path: &Path) -> &str {
    path.extension()
        .and_then(|ending| ending.to_str())
        .unwrap_or("")
}

pub(crate) fn is_of_model(path: &Path) -> bool {
    let own = MODEL_ENDINGS.contains(&ending(path)) || MODEL_FILES.contains(&&*name(path));
    (own || is_own_card(path)) && !path.is_dir()
}

pub(crate) fn is_sample(path: &Path) -> bool {
    let number = path
        .file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or("");
    let counted = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    counted && ["png", "jpg"].contains(&ending(path))
}

/// What is in a folder; nothing where there is none.
pub(crate) fn entries(dir: &Path) -> Result<Vec<PathBuf>, FileError> {
    let failed = |source| FileError::io(dir, source);
    match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(failed(error)),
        Ok(entries) => entries
            .map(|entry| Ok(entry.map_err(failed)?.path()))
            .collect(),
    }
}

/// Whether a run was begun in a folder: a file named `run.toml` may be a user's own.
pub(crate) fn was_run(dir: &Path) -> bool {
    let config = fs::read(dir.join("config.json")).unwrap_or_default();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap_or_default();
    config.get("fine_tune").is_some() || is_own_lock(&dir.join(LOCK))
}

/// Whether a file is the lock of a run: the number of its process, or nothing.
fn is_own_lock(path: &Path) -> bool {
    let text = fs::read(path).map(|text| text.trim_ascii().to_vec());
    text.is_ok_and(|text| text.len() < 32 && text.iter().all(u8::is_ascii_digit))
}

/// Whether a file is one of those that a run writes into a folder.
type IsOwn = fn(&Path) -> bool;

/// A file of a folder that a run would replace, where no run was ever.
pub(crate) fn foreign(dir: &Path) -> Result<Option<String>, FileError> {
    if was_run(dir) {
        return Ok(None);
    }
    let mut files = [LOCK].into_iter().chain(FILES);
    let file = files.find(|name| dir.join(name).exists());
    if let Some(name) = file {
        return Ok(Some(name.to_owned()));
    }
    let models = MODELS.map(|name| (name, is_of_model as IsOwn));
    let others = [("samples", is_sample as IsOwn), ("checkpoints", |_| true)];
    for (folder, is_own) in models.into_iter().chain(others) {
        let path = dir.join(folder);
        if path.exists() && !path.is_dir() {
            return Ok(Some(folder.to_owned()));
        }
        let found = entries(&path)?.into_iter().find(|path| is_own(path));
        if let Some(path) = found {
            return Ok(Some(format!("{folder}/{}", name(&path))));
        }
    }
    Ok(None)
}
