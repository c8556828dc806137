//! Which files of a folder hold the weights.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use visrl_core::warn_once;

use crate::checkpoint::config_files::read_json;
use crate::error::Error;

pub(crate) const SINGLE: &str = "model.safetensors";
pub(crate) const INDEX: &str = "model.safetensors.index.json";

/// The files that hold the weights.
#[derive(Debug, Default)]
pub(crate) struct WeightFiles {
    /// Their names, in the order in which the index has them.
    pub(crate) names: Vec<String>,
    /// The file of each tensor, where an index says it.
    pub(super) weight_map: BTreeMap<String, String>,
}

impl WeightFiles {
    /// Finds the files as transformers does: `model.safetensors`, or else the shards that
    /// `model.safetensors.index.json` lists. Files that might be meant as well and are not read are
    /// told in a warning.
    ///
    /// # Errors
    /// [`Error::File`] with an index that cannot be used, and [`Error::Weights`] with what is there
    /// in the place of either.
    pub(super) fn find(dir: &Path) -> Result<Self, Error> {
        let (single, index) = (dir.join(SINGLE), dir.join(INDEX));
        let files = match (single.exists(), index.exists()) {
            (true, has_index) => {
                let agrees = || Self::read_index(&index).is_ok_and(|files| files.names == [SINGLE]);
                if has_index && !agrees() {
                    warn_once(format!(
                        "{}: is not used, as {SINGLE} is there, which transformers takes first; \
                         remove the one of them that is old",
                        index.display()
                    ));
                    return Ok(Self::single());
                }
                Self::single()
            }
            (false, true) => Self::read_index(&index)?,
            (false, false) => {
                if let Some((name, message)) = in_their_place(dir) {
                    let path = dir.join(name);
                    return Err(Error::Weights { path, message });
                }
                return Ok(Self::single());
            }
        };
        let other = shards(dir).find(|name| !files.names.contains(name));
        if let Some(other) = other {
            let read = match files.names.as_slice() {
                [one] => one.clone(),
                _ => format!("the shards that {INDEX} lists"),
            };
            warn_once(format!(
                "{}: is not used, as the weights are read from {read}; remove it if it is old",
                dir.join(other).display()
            ));
        }
        Ok(files)
    }

    fn single() -> Self {
        Self {
            names: vec![SINGLE.to_owned()],
            weight_map: BTreeMap::new(),
        }
    }

    /// Reads an index.
    ///
    /// # Errors
    /// [`Error::File`] with an index that cannot be used.
    pub(crate) fn read_index(index: &Path) -> Result<Self, Error> {
        let value = read_json(index)?;
        let map = value
            .get("weight_map")
            .and_then(|map| map.as_object())
            .ok_or_else(|| Error::field(index, "weight_map", "is missing"))?;
        let mut files = Self::default();
        for (tensor, file) in map {
            let name = file.as_str().filter(|name| is_plain_file_name(name));
            let name = name.ok_or_else(|| {
                let field = format!("weight_map.{tensor}");
                Error::field(index, &field, format!("{file} is not a file name"))
            })?;
            if !files.names.iter().any(|other| other == name) {
                files.names.push(name.to_owned());
            }
            files.weight_map.insert(tensor.clone(), name.to_owned());
        }
        Ok(files)
    }

    /// Warns of tensors that are not where the index says. `file_of` tells where one is.
    pub(super) fn tell_moved<'a>(&self, dir: &Path, file_of: impl Fn(&str) -> Option<&'a str>) {
        let mut moved = self.weight_map.iter().filter_map(|(tensor, file)| {
            let found = file_of(tensor);
            (found != Some(file.as_str())).then_some((tensor, file, found))
        });
        if let Some((tensor, file, found)) = moved.next() {
            let place = found.map_or("in none of the files".to_owned(), |file| {
                format!("in {file}")
            });
            warn_once(format!(
                "{}: field `weight_map.{tensor}`: says {file}, but the tensor is {place} ({} such \
                 tensors); the index belongs to other files",
                dir.join(INDEX).display(),
                moved.count() + 1
            ));
        }
    }
}

/// Names of shards in a folder, in order.
fn shards(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names
        .filter(|name| name.starts_with("model-") && name.ends_with(".safetensors"))
        .collect();
    names.sort();
    names.into_iter()
}

/// What a folder has in the place of its weights: a file's name, and what is wrong with it.
fn in_their_place(dir: &Path) -> Option<(String, String)> {
    if let Some(shard) = shards(dir).next() {
        let message = format!("is a shard, but there is no {INDEX} to list them all");
        return Some((shard, message));
    }
    let pickles = ["pytorch_model.bin", "pytorch_model.bin.index.json"];
    let pickle = pickles.into_iter().find(|name| dir.join(name).exists())?;
    let message = "is of PyTorch's format, which is not read; save the model as safetensors";
    Some((pickle.to_owned(), message.to_owned()))
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The files that are found in a folder with these, of which the index is `index`.
    fn find(files: &[&str], index: Option<&str>) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            fs::write(dir.path().join(file), "").unwrap();
        }
        if let Some(index) = index {
            fs::write(dir.path().join(INDEX), index).unwrap();
        }
        let found = WeightFiles::find(dir.path()).map_err(|error| error.to_string())?;
        Ok(found.names)
    }

    #[test]
    fn one_file_goes_before_an_index() {
        let two = r#"{"weight_map": {"b": "model-2.safetensors", "a": "model-1.safetensors"}}"#;
        let old = ["model-1.safetensors", "model-2.safetensors"];
        assert_eq!(
            find(&[SINGLE, old[0], old[1]], Some(two)).unwrap(),
            [SINGLE]
        );
        assert_eq!(find(&[SINGLE], Some("{")).unwrap(), [SINGLE]);
        assert_eq!(find(&[SINGLE], None).unwrap(), [SINGLE]);
        assert_eq!(find(&old, Some(two)).unwrap(), [old[1], old[0]]);
        // Nothing at all: the error about the file that is missing comes when it is opened.
        assert_eq!(find(&[], None).unwrap(), [SINGLE]);
    }

    #[test]
    fn what_is_no_answer_is_refused_by_name() {
        for (files, index, parts) in [
            (
                vec!["model-00001-of-00002.safetensors"],
                None,
                ["model-00001-of-00002.safetensors: is a shard", INDEX],
            ),
            (
                vec!["pytorch_model.bin"],
                None,
                ["pytorch_model.bin: ", "safetensors"],
            ),
            (
                vec![],
                Some(r#"{"weight_map": {"a": "../b.safetensors"}}"#),
                [INDEX, "weight_map.a"],
            ),
            (vec![], Some("{}"), [INDEX, "`weight_map`"]),
        ] {
            let message = find(&files, index).unwrap_err();
            for part in parts {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}
