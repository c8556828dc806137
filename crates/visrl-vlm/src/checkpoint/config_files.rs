//! Reading Hugging Face's `config.json` and `generation_config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use visrl_core::files::{self, Fields, FileError};

use crate::error::Error;

/// The largest JSON file that is read, in bytes: real ones hold a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads a JSON file of a checkpoint, refusing files beyond 16 MiB.
///
/// # Errors
/// [`FileError`] when the file cannot be read or does not parse.
pub fn read_json(path: &Path) -> Result<Value, FileError> {
    files::read_json(path, MAX_CONFIG_BYTES)
}

/// One id or a list of ids, as Hugging Face writes `eos_token_id`.
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Ids {
    One(u32),
    Many(Vec<u32>),
}

impl Ids {
    pub(crate) fn into_vec(self) -> Vec<u32> {
        match self {
            Self::One(id) => vec![id],
            Self::Many(ids) => ids,
        }
    }
}

/// The end tokens of a checkpoint: `eos_token_id` of `generation_config.json`, or else of
/// `config.json`. Nothing else of `generation_config.json` is used: its sampling settings are for
/// chat, and would quietly turn training into greedy decoding.
pub(crate) fn eos_token_ids(dir: &Path, config: &Fields<'_>) -> Result<Vec<u32>, Error> {
    let path = dir.join("generation_config.json");
    if path.exists() {
        let value = read_json(&path)?;
        let fields = Fields::new(&path, "", &value);
        if let Some(ids) = fields.optional::<Ids>("eos_token_id")? {
            return Ok(ids.into_vec());
        }
    }
    Ok(config
        .optional::<Ids>("eos_token_id")?
        .map(Ids::into_vec)
        .unwrap_or_default())
}
