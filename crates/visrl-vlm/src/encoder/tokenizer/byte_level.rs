//! From text to token ids and back: the byte-level BPE tokenizer of a checkpoint folder.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tokenizers::DecoderWrapper;

use visrl_core::files::{self, Fields, write_file};

use super::added_tokens;
use super::special_tokens::{IMAGE_PAD, SPECIAL_TOKENS, VISION_TOKENS};
use super::{check, known_settings};
use crate::error::Error;

const MAIN_FILE: &str = "tokenizer.json";
const CONFIG_FILE: &str = "tokenizer_config.json";
const ADDED_FILE: &str = "added_tokens.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
const VOCABULARY_FILE: &str = "vocab.json";

/// The files of a tokenizer; all that are there are kept and written again, byte for byte.
const FILES: [&str; 6] = [
    MAIN_FILE,
    CONFIG_FILE,
    SPECIAL_FILE,
    ADDED_FILE,
    VOCABULARY_FILE,
    "merges.txt",
];

/// The largest file that is read, in bytes: real ones hold some ten million.
const MAX_BYTES: u64 = 256 << 20;

/// A checkpoint's tokenizer.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    files: Vec<(&'static str, Vec<u8>)>,
    special: Vec<u32>,
    vision: Vec<u32>,
    image_pad: u32,
    eos: u32,
    pad: u32,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocab_size())
    }
}

impl Tokenizer {
    /// Reads `tokenizer.json` and, where they are there, `tokenizer_config.json`,
    /// `added_tokens.json` and `special_tokens_map.json`, whose tokens are added with their ids.
    ///
    /// # Errors
    /// [`Error::File`] with a file that cannot be read, has more than 256 MiB, names a token that
    /// there is not or gives one an id that is not its own, and [`Error::Tokenizer`] when `tokenizer.json` is damaged, is not byte-level,
    /// or lacks `<|image_pad|>`.
    pub fn from_dir(dir: &Path) -> Result<Self, Error> {
        let mut found = Vec::new();
        for name in FILES {
            let path = dir.join(name);
            if name == MAIN_FILE || path.exists() {
                found.push((name, files::read(&path, MAX_BYTES)?));
            }
        }
        Self::from_files(dir, found)
    }

    /// A tokenizer from the text of a `tokenizer.json`, as [`train_bpe`](super::train_bpe) gives
    /// it. It gets a `tokenizer_config.json` that makes transformers load it as Qwen2's.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] as for [`from_dir`](Self::from_dir).
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let config = serde_json::json!({
            "add_prefix_space": false,
            "additional_special_tokens": SPECIAL_TOKENS[1..],
            "bos_token": null,
            "clean_up_tokenization_spaces": false,
            "eos_token": "<|im_end|>",
            "errors": "replace",
            "model_max_length": 32_768,
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "split_special_tokens": false,
            "tokenizer_class": "Qwen2Tokenizer",
            "unk_token": null,
        });
        let config = format!("{config:#}\n").into_bytes();
        let files = vec![(MAIN_FILE, json.as_bytes().to_vec()), (CONFIG_FILE, config)];
        Self::from_files(Path::new(""), files)
    }

    fn from_files(dir: &Path, files: Vec<(&'static str, Vec<u8>)>) -> Result<Self, Error> {
        let path = dir.join(MAIN_FILE);
        let fail = |message: String| Error::Tokenizer {
            path: path.clone(),
            message,
        };
        let bytes = |name| {
            files
                .iter()
                .find(|(file, _)| *file == name)
                .map(|(_, bytes)| bytes)
        };
        let json = bytes(MAIN_FILE).map_or(&[][..], Vec::as_slice);
        check::check(json, &path)?;
        let mut inner = tokenizers::Tokenizer::from_bytes(json)
            .map_err(|error| check::what_is_wrong(json, &path, &*error))?;
        if !matches!(inner.get_decoder(), Some(DecoderWrapper::ByteLevel(_))) {
            return Err(fail(
                "has no byte-level decoder, as Qwen2's tokenizers have".into(),
            ));
        }
        let paths = [CONFIG_FILE, ADDED_FILE, SPECIAL_FILE].map(|name| dir.join(name));
        let beside = |name, path: &Path| match bytes(name) {
            None => Ok(Value::Null),
            Some(bytes) => files::parse_value(path, bytes),
        };
        let [config_path, added_path, special_path] = &paths;
        let config = beside(CONFIG_FILE, config_path)?;
        let added = beside(ADDED_FILE, added_path)?;
        let special_map = beside(SPECIAL_FILE, special_path)?;
        let beside = added_tokens::Files {
            config: (config_path, &config),
            added: (added_path, &added),
            special_map: (special_path, &special_map),
        };
        inner = added_tokens::add(inner, json, &beside)?;
        known_settings::tell(&Fields::new(config_path, "", &config));
        known_settings::tell_rivals(&Fields::new(special_path, "", &special_map), &config);
        if let Some(vocabulary) = bytes(VOCABULARY_FILE) {
            known_settings::tell_vocabulary(&dir.join(VOCABULARY_FILE), vocabulary, &inner);
        }
        // A prompt is refused when it is too long; the tokenizer must not cut or pad it.
        inner
            .with_truncation(None)
            .map_err(|error| fail(error.to_string()))?;
        inner.with_padding(None);

        let image_pad = inner.token_to_id(IMAGE_PAD).ok_or_else(|| {
            fail(format!(
                "has no token {IMAGE_PAD}; it belongs to a model without images"
            ))
        })?;
        let vision = VISION_TOKENS
            .iter()
            .filter_map(|token| inner.token_to_id(token))
            .collect();
        let mut special: Vec<u32> = inner
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, _)| id)
            .collect();
        special.sort_unstable();

        let named = |field: &str, or: &str| -> Result<u32, Error> {
            let value = config.get(field).filter(|value| !value.is_null());
            // Some files hold the token as an object with its properties.
            let token = value.map_or(Some(or), |value| {
                value.get("content").unwrap_or(value).as_str()
            });
            let token = token.ok_or_else(|| {
                let expected = "expected a token or an object with `content`";
                Error::field(config_path, field, expected)
            })?;
            inner.token_to_id(token).ok_or_else(|| {
                let message = format!("`{token}` is not in {MAIN_FILE}");
                Error::field(config_path, field, message)
            })
        };
        let eos = named("eos_token", "<|im_end|>")?;
        let pad = named("pad_token", "<|endoftext|>")?;
        Ok(Self {
            inner,
            files,
            special,
            vision,
            image_pad,
            eos,
            pad,
        })
    }

    /// The ids of a text; special tokens in it become their ids and none are added.
    ///
    /// # Errors
    /// [`Error::Input`] when the tokenizer's model fails on the text.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        let encoding = self
            .inner
            .encode_fast(text, false)
            .map_err(|error| Error::Input(format!("cannot tokenize: {error}")))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, with or without the special tokens.
    ///
    /// Ids beyond the vocabulary give nothing, and bytes that are no UTF-8 character (a character
    /// that was cut) give U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        // Byte-level decoding cannot fail.
        self.inner.decode(ids, skip_special).unwrap_or_default()
    }

    /// The id of a token, written as in the vocabulary.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The added token of the largest id.
    pub(crate) fn last_added(&self) -> Option<(u32, &str)> {
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let last = added.iter().max_by_key(|(id, _)| **id)?;
        Some((*last.0, &last.1.content))
    }

    /// The number of tokens, special ones included. A model's vocabulary may be larger.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The ids of all special tokens, ascending.
    pub fn special_ids(&self) -> &[u32] {
        &self.special
    }

    /// The ids of [`VISION_TOKENS`] that the vocabulary has: they must not be sampled.
    pub fn vision_ids(&self) -> &[u32] {
        &self.vision
    }

    /// The id of [`IMAGE_PAD`].
    pub fn image_pad_id(&self) -> u32 {
        self.image_pad
    }

    /// The id of the token that ends a turn: `eos_token` of `tokenizer_config.json`, by default
    /// `<|im_end|>`.
    pub fn eos_id(&self) -> u32 {
        self.eos
    }

    /// The id that fills up shorter sequences: `pad_token` of `tokenizer_config.json`, by default
    /// `<|endoftext|>`.
    pub fn pad_id(&self) -> u32 {
        self.pad
    }

    /// The tokenizer's files, by name, byte for byte as they were read.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.files
            .iter()
            .map(|(name, bytes)| (*name, bytes.as_slice()))
    }

    /// Writes the tokenizer's files into a folder, byte for byte as they were read.
    ///
    /// # Errors
    /// [`Error::File`] when a file or its folder cannot be written.
    pub fn save(&self, dir: &Path) -> Result<(), Error> {
        fs::create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
        for (name, bytes) in &self.files {
            write_file(&dir.join(name), bytes)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::files::FileError;
    use visrl_testing::warnings_of;

    use super::*;
    use crate::encoder::tokenizer::train_bpe::train_bpe;

    fn tiny() -> Tokenizer {
        Tokenizer::from_json(&train_bpe(["the cat and the hat"; 3], 300).unwrap()).unwrap()
    }

    #[test]
    fn what_is_saved_is_read() {
        let tokenizer = tiny();
        let dir = tempfile::tempdir().unwrap();
        tokenizer.save(dir.path()).unwrap();
        let again = Tokenizer::from_dir(dir.path()).unwrap();
        assert_eq!(again.files, tokenizer.files);
        assert_eq!(
            (again.eos_id(), again.pad_id()),
            (tokenizer.eos_id(), tokenizer.pad_id())
        );
        assert_eq!(again.vision_ids().len(), 5);
        assert_eq!(again.special_ids().len(), 14);
    }

    #[test]
    fn ids_beyond_the_vocabulary_decode_to_nothing() {
        let tokenizer = tiny();
        let mut ids = tokenizer.encode("the cat<|im_end|>").unwrap();
        ids.extend([999, u32::MAX]);
        assert_eq!(tokenizer.decode(&ids, false), "the cat<|im_end|>");
        assert_eq!(tokenizer.decode(&ids, true), "the cat");
    }

    #[test]
    fn a_tokenizer_without_images_is_refused() {
        let json = train_bpe(["x"], 270)
            .unwrap()
            .replace(IMAGE_PAD, "<|other|>");
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join(MAIN_FILE), json).unwrap();
        let message = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        assert!(
            message.contains("tokenizer.json: has no token <|image_pad|>"),
            "{message}"
        );
    }

    #[test]
    fn files_that_say_something_else_are_told() {
        for (name, text, parts) in [
            (
                "tokenizer_config.json",
                r#"{"add_bos_token": true}"#,
                "`add_bos_token`: is true",
            ),
            ("tokenizer_config.json", r#"{"lower": 1}"#, "`lower`: is 1"),
            (
                "tokenizer_config.json",
                r#"{"add_bos_token": false, "lower": false}"#,
                "",
            ),
            (
                "special_tokens_map.json",
                r#"{"eos_token": "<|endoftext|>"}"#,
                "`eos_token`: is `<|endoftext|>`, but `<|im_end|>`",
            ),
            (
                "special_tokens_map.json",
                r#"{"eos_token": {"content": "<|im_end|>"}}"#,
                "",
            ),
            ("vocab.json", r#"{"!": 0}"#, ""),
            ("vocab.json", r#"{"!": 7}"#, "`!`: is 7, but 0"),
            ("vocab.json", "{", "EOF"),
        ] {
            let dir = tempfile::tempdir().unwrap();
            tiny().save(dir.path()).unwrap();
            fs::write(dir.path().join(name), text).unwrap();
            let (read, told) = warnings_of(|| Tokenizer::from_dir(dir.path()));
            read.unwrap();
            match parts {
                "" => assert_eq!(told, [""; 0], "{text}"),
                _ => assert!(
                    told.len() == 1 && told[0].contains(name) && told[0].contains(parts),
                    "{text}: {told:?}"
                ),
            }
        }
    }

    #[test]
    fn a_part_that_is_none_is_named() {
        let dir = tempfile::tempdir().unwrap();
        tiny().save(dir.path()).unwrap();
        let path = dir.path().join(MAIN_FILE);
        let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (part, value) in [
            (
                "pre_tokenizer",
                serde_json::json!({ "type": "Split", "pattern": 3 }),
            ),
            ("decoder", serde_json::json!({ "type": "Bytes" })),
            (
                "model",
                serde_json::json!({ "type": "BPE", "vocab": { "a": "b" }, "merges": [] }),
            ),
            ("added_tokens", serde_json::json!([3])),
        ] {
            let mut bad = good.clone();
            bad[part] = value;
            fs::write(&path, bad.to_string()).unwrap();
            let message = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
            let expected = format!("tokenizer.json: field `{part}`");
            assert!(message.contains(&expected), "{message}");
            assert!(!message.contains("untagged"), "{message}");
        }
    }

    #[test]
    fn named_tokens_must_exist() {
        let dir = tempfile::tempdir().unwrap();
        tiny().save(dir.path()).unwrap();
        let config = dir.path().join(CONFIG_FILE);
        fs::write(&config, r#"{"eos_token": {"content": "<|endoftext|>"}}"#).unwrap();
        let tokenizer = Tokenizer::from_dir(dir.path()).unwrap();
        assert_eq!(tokenizer.eos_id(), tokenizer.pad_id());
        for (text, field) in [
            (
                r#"{"eos_token": "</s>"}"#,
                "`eos_token`: `</s>` is not in tokenizer.json",
            ),
            (r#"{"pad_token": 3}"#, "`pad_token`: expected a token"),
            ("[", "tokenizer_config.json: EOF"),
        ] {
            fs::write(&config, text).unwrap();
            let message = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
            assert!(message.contains(field), "{message}");
        }
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Tokenizer::from_dir(empty.path()),
            Err(Error::File(FileError::Io { .. }))
        ));
    }
}
