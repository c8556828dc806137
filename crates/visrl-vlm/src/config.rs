//! Reading Hugging Face's `config.json` and `generation_config.json`.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::Error;

/// The largest JSON file that is read, in bytes: real ones hold a few kilobytes.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Reads a JSON file of a checkpoint, refusing files beyond 16 MiB.
///
/// # Errors
/// [`Error::Io`] when the file cannot be read and [`Error::Json`] when it does not parse.
pub fn read_json(path: &Path) -> Result<Value, Error> {
    let size = std::fs::metadata(path)
        .map_err(|source| Error::io(path, source))?
        .len();
    if size > MAX_CONFIG_BYTES {
        let message = format!("has {size} bytes, more than the {MAX_CONFIG_BYTES} allowed");
        let source = std::io::Error::new(std::io::ErrorKind::InvalidData, message);
        return Err(Error::io(path, source));
    }
    let text = std::fs::read(path).map_err(|source| Error::io(path, source))?;
    serde_json::from_slice(&text).map_err(|source| Error::Json {
        path: path.to_owned(),
        source,
    })
}

/// A view of one JSON object of a file that turns missing or unfit fields into errors.
pub(crate) struct Fields<'a> {
    path: &'a Path,
    prefix: &'a str,
    value: &'a Value,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(path: &'a Path, prefix: &'a str, value: &'a Value) -> Self {
        Self {
            path,
            prefix,
            value,
        }
    }

    pub(crate) fn error(&self, field: &str, message: impl Into<String>) -> Error {
        let name = match self.prefix {
            "" => field.to_owned(),
            prefix => format!("{prefix}.{field}"),
        };
        Error::field(self.path, &name, message)
    }

    pub(crate) fn optional<T: for<'de> Deserialize<'de>>(
        &self,
        field: &str,
    ) -> Result<Option<T>, Error> {
        match self.value.get(field) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => T::deserialize(value)
                .map(Some)
                .map_err(|source| self.error(field, format!("{source}, found {value}"))),
        }
    }

    pub(crate) fn required<T: for<'de> Deserialize<'de>>(&self, field: &str) -> Result<T, Error> {
        self.optional(field)?
            .ok_or_else(|| self.error(field, "is missing"))
    }

    /// A required whole number in `1..=most`.
    pub(crate) fn size(&self, field: &str, most: usize) -> Result<usize, Error> {
        let value = self.required(field)?;
        self.within(field, value, most)
    }

    /// A whole number in `1..=most`, or the default.
    pub(crate) fn size_or(&self, field: &str, most: usize, or: usize) -> Result<usize, Error> {
        let value = self.optional(field)?.unwrap_or(or);
        self.within(field, value, most)
    }

    fn within(&self, field: &str, value: usize, most: usize) -> Result<usize, Error> {
        if value == 0 || value > most {
            return Err(self.error(field, format!("is {value}, expected 1 to {most}")));
        }
        Ok(value)
    }
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
