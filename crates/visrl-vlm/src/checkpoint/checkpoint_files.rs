//! What stands beside the weights in a checkpoint folder.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use visrl_core::files::{self, write_dir};

use super::save::config_dtype::config_with_dtype;
use super::save::save_options::SaveOptions;
use super::save::save_weights::save_weights;
use crate::error::Error;
use crate::model::vision_language_model::VisionLanguageModel;

/// Files of a Hugging Face folder that are copied as they are.
pub(crate) const FILES: [&str; 13] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.json",
    "chat_template.jinja",
];

/// The largest file that is kept, in bytes: a tokenizer holds some ten million.
const MAX_BYTES: u64 = 256 << 20;

/// The files of a checkpoint other than its weights, byte for byte. A copy shares them.
#[derive(Clone, Default)]
pub struct CheckpointFiles {
    files: Arc<Vec<(String, Vec<u8>)>>,
}

impl std::fmt::Debug for CheckpointFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

impl CheckpointFiles {
    /// Files from memory, by their names in the folder. [`CheckpointFiles::default`] is none.
    ///
    /// ```
    /// use visrl_vlm::tokenizer::{Tokenizer, train_bpe};
    /// use visrl_vlm::CheckpointFiles;
    ///
    /// let tokenizer = Tokenizer::from_json(&train_bpe(["a cat on a mat"], 280)?)?;
    /// let files = CheckpointFiles::new(tokenizer.files())?.with("config.json", "{}")?;
    /// assert_eq!(files.get("config.json"), Some(&b"{}"[..]));
    /// # Ok::<(), visrl_vlm::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is no plain file name, or one of a file of weights, which
    /// [`save`](Self::save) writes itself.
    pub fn new<N: Into<String>, B: Into<Vec<u8>>>(
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Result<Self, Error> {
        files
            .into_iter()
            .try_fold(Self::default(), |kept, (name, bytes)| {
                kept.with(name, bytes)
            })
    }

    /// Reads the files beside the weights of a folder in Hugging Face layout, those that are there.
    ///
    /// # Errors
    /// [`Error::File`] with the file that cannot be read or has more than 256 MiB.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        let paths = FILES.map(|name| (name, dir.join(name)));
        let there = paths.iter().filter(|(_, path)| path.exists());
        let files = there
            .map(|(name, path)| Ok(((*name).to_owned(), files::read(path, MAX_BYTES)?)))
            .collect::<Result<_, Error>>()?;
        Ok(Self {
            files: Arc::new(files),
        })
    }

    /// With one more file, in the place of one of its name.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with(
        mut self,
        name: impl Into<String>,
        bytes: impl Into<Vec<u8>>,
    ) -> Result<Self, Error> {
        let (name, bytes) = (name.into(), bytes.into());
        let plain =
            !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != "..";
        if !plain {
            return Err(Error::Input(format!("`{name}` is not a file name")));
        }
        if name.contains(".safetensors") {
            let message = format!("`{name}` is a file of weights, which are written by `save`");
            return Err(Error::Input(message));
        }
        let files = Arc::make_mut(&mut self.files);
        match files.iter_mut().find(|(other, _)| *other == name) {
            Some((_, old)) => *old = bytes,
            None => files.push((name, bytes)),
        }
        Ok(self)
    }

    /// The bytes of a file.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let found = self.files.iter().find(|(other, _)| other == name)?;
        Some(&found.1)
    }

    /// The names of the files.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(|(name, _)| name.as_str())
    }

    /// Saves a model with these files as a checkpoint in Hugging Face layout, whole or not at all.
    /// `config.json`, where there is one, tells the number format of the weights.
    ///
    /// # Errors
    /// [`Error::File`] with the file that cannot be written or a `config.json` that is no JSON, and
    /// [`Error::Weights`] for parameters that cannot be read from their device or share a name; a
    /// checkpoint that was there before stays.
    pub fn save<M: VisionLanguageModel>(
        &self,
        model: &M,
        dir: impl AsRef<Path>,
        options: impl Into<SaveOptions>,
    ) -> Result<(), Error> {
        let options = options.into();
        write_dir(dir.as_ref(), |new| {
            for (name, bytes) in self.files.iter() {
                let path = new.join(name);
                let bytes = match name.as_str() {
                    "config.json" => {
                        let config = config_with_dtype(bytes, options.dtype);
                        config.map_err(|message| Error::field(&path, "torch_dtype", message))?
                    }
                    _ => bytes.clone(),
                };
                fs::write(&path, bytes).map_err(|source| Error::io(&path, source))?;
            }
            save_weights(model, new, options)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_replaced_by_name_and_copies_keep_theirs() {
        let files =
            CheckpointFiles::new([("a.txt", "1"), ("b.json", "2"), ("a.txt", "3")]).unwrap();
        assert_eq!(files.names().collect::<Vec<_>>(), ["a.txt", "b.json"]);
        let changed = files.clone().with("b.json", "4").unwrap();
        let contents = |files: &CheckpointFiles| files.get("b.json").map(<[u8]>::to_vec);
        assert_eq!(contents(&files), Some(b"2".to_vec()));
        assert_eq!(contents(&changed), Some(b"4".to_vec()));
        assert_eq!(files.get("c"), None);
    }

    #[test]
    fn a_name_cannot_lead_elsewhere_or_be_that_of_weights() {
        let weights = ["model.safetensors", "model.safetensors.index.json"];
        for name in ["", "..", "a/b", "a\\b"].into_iter().chain(weights) {
            assert!(
                CheckpointFiles::default().with(name, "x").is_err(),
                "{name}"
            );
        }
    }

    #[test]
    fn a_folder_gives_the_files_that_it_has() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["config.json", "merges.txt", "notes.md"] {
            fs::write(dir.path().join(name), name).unwrap();
        }
        let files = CheckpointFiles::from_dir(dir.path()).unwrap();
        assert_eq!(
            files.names().collect::<Vec<_>>(),
            ["config.json", "merges.txt"]
        );
        assert_eq!(files.get("merges.txt"), Some(&b"merges.txt"[..]));
    }
}
