//! Reading Hugging Face's `config.json` and `generation_config.json`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use visrl_core::files::{self, Fields, FileError};

use super::generation_fields;
use crate::error::Error;

/// The largest JSON file that is read, in bytes: real ones hold a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads a JSON file of a checkpoint, refusing files beyond 16 MiB. A field that is there twice is
/// told in a warning.
///
/// # Errors
/// [`FileError`] when the file cannot be read or does not parse.
pub fn read_json(path: &Path) -> Result<Value, FileError> {
    files::read_value(path, MAX_CONFIG_BYTES)
}

/// One id or a list of ids, as Hugging Face writes `eos_token_id`.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected an id or a list of ids")]
enum Ids {
    One(u32),
    Many(Vec<u32>),
}

/// The end tokens of a checkpoint, and where they stand.
pub(crate) struct EndTokens {
    pub(crate) ids: Vec<u32>,
    pub(crate) path: PathBuf,
    /// The field, with dots between levels.
    pub(crate) field: String,
}

impl EndTokens {
    /// Reads `eos_token_id` of `generation_config.json`, or else of the first of the parts of
    /// `config.json` that has it. Nothing else of `generation_config.json` is used: its sampling
    /// settings are for chat, and would quietly turn training into greedy decoding. Settings that
    /// are not known, or that change what is generated otherwise, are told in a warning.
    ///
    /// # Errors
    /// [`Error::File`] with the file and the field.
    pub(crate) fn read(dir: &Path, config: &[Fields<'_>]) -> Result<Self, Error> {
        const FIELD: &str = "eos_token_id";
        let path = dir.join("generation_config.json");
        let value = match path.exists() {
            true => read_json(&path)?,
            false => Value::Null,
        };
        let generation = Fields::new(&path, "", &value);
        generation_fields::tell(&generation);
        for fields in [generation].iter().chain(config) {
            if let Some(ids) = fields.optional::<Ids>(FIELD)? {
                return Ok(Self {
                    ids: match ids {
                        Ids::One(id) => vec![id],
                        Ids::Many(ids) => ids,
                    },
                    path: fields.path().to_owned(),
                    field: fields.name(FIELD),
                });
            }
        }
        Ok(Self {
            ids: Vec::new(),
            path: dir.join("config.json"),
            field: FIELD.to_owned(),
        })
    }
}
