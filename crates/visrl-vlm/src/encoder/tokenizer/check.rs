//! What the tokenizers crate takes for granted of a `tokenizer.json`, looked at before it is read.

use std::fmt;
use std::path::Path;

use serde::de::{Deserialize, DeserializeOwned, Deserializer};
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use tokenizers::models::bpe::BPE;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
};

use visrl_core::files::parse_json;

use crate::error::Error;

/// Parts that byte-level BPE tokenizers have. Others would not give Qwen2's tokens, and some of
/// them panic on settings that make no sense.
const PARTS: [(&str, &[&str]); 3] = [
    ("normalizer", &["Sequence", "NFC", "NFD", "NFKC", "NFKD"]),
    (
        "pre_tokenizer",
        &["Sequence", "Split", "ByteLevel", "Digits"],
    ),
    (
        "post_processor",
        &["Sequence", "ByteLevel", "TemplateProcessing"],
    ),
];

/// Refuses files on which the tokenizers crate would panic.
///
/// # Errors
/// [`Error::File`] when the text is no JSON of the expected kind, and [`Error::Tokenizer`] for
/// parts that no byte-level BPE tokenizer has and for merges that make a token longer than any of
/// the vocabulary.
pub(super) fn check(json: &[u8], path: &Path) -> Result<(), Error> {
    let file: Parts = parse_json(path, json)?;
    let fail = |message: String| Error::Tokenizer {
        path: path.to_owned(),
        message,
    };
    for ((name, known), part) in
        PARTS
            .into_iter()
            .zip([&file.normalizer, &file.pre_tokenizer, &file.post_processor])
    {
        if let Some(kind) = part.as_ref().and_then(|part| unknown_kind(part, known)) {
            let message = format!("has a {name} of type {kind}, which Qwen2's tokenizers have not");
            return Err(fail(message));
        }
    }
    let model = file.model.unwrap_or_default();
    if model.kind.is_some_and(|kind| kind != "BPE") {
        return Err(fail("has a model that is not BPE".into()));
    }
    if model
        .continuing_subword_prefix
        .is_some_and(|prefix| !prefix.is_empty())
    {
        return Err(fail(
            "has a `continuing_subword_prefix`, which byte-level BPE has not".into(),
        ));
    }
    if let (Some(vocab), Some(merges)) = (model.vocab, model.merges)
        && merges.0 > vocab.0
    {
        return Err(fail(format!(
            "has a merge that makes a token of {} bytes, but the longest token has {}",
            merges.0, vocab.0
        )));
    }
    Ok(())
}

/// Why the tokenizers crate does not take a file, with the part that it is about where that can be
/// found.
pub(super) fn what_is_wrong(json: &[u8], path: &Path, error: &dyn std::error::Error) -> Error {
    let whole: Map<String, Value> = serde_json::from_slice(json).unwrap_or_default();
    let part = |name: &str| whole.get(name).filter(|value| !value.is_null());
    fn fault<T: DeserializeOwned>(value: &Value) -> Option<String> {
        let error = T::deserialize(value).err()?.to_string();
        let is_vague = error.contains("untagged");
        Some(if is_vague {
            "has no form that is known".into()
        } else {
            error
        })
    }
    type Look = fn(&Value) -> Option<String>;
    let looks: [(&str, Look); 6] = [
        ("normalizer", fault::<NormalizerWrapper>),
        ("pre_tokenizer", fault::<PreTokenizerWrapper>),
        ("post_processor", fault::<PostProcessorWrapper>),
        ("decoder", fault::<DecoderWrapper>),
        ("added_tokens", fault::<Vec<AddedToken>>),
        ("model", fault::<BPE>),
    ];
    for (name, look) in looks {
        if let Some(message) = part(name).and_then(look) {
            return Error::field(path, name, message);
        }
    }
    Error::Tokenizer {
        path: path.to_owned(),
        message: format!("is not a tokenizer: {error}"),
    }
}

/// The first kind that is not among the known ones, in a part or in a sequence of parts.
fn unknown_kind(part: &Value, known: &[&str]) -> Option<Value> {
    let kind = part.get("type").unwrap_or(part);
    if !kind.as_str().is_some_and(|kind| known.contains(&kind)) {
        return Some(kind.clone());
    }
    let lists = part.as_object()?.values().filter_map(Value::as_array);
    let is_sequence = kind == "Sequence";
    lists
        .filter(|_| is_sequence)
        .flatten()
        .find_map(|inner| unknown_kind(inner, known))
}

#[derive(serde::Deserialize)]
struct Parts {
    normalizer: Option<Value>,
    pre_tokenizer: Option<Value>,
    post_processor: Option<Value>,
    /// Read for its syntax alone.
    #[serde(rename = "decoder")]
    _decoder: Option<Value>,
    model: Option<Model>,
}

#[derive(Default, serde::Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    continuing_subword_prefix: Option<String>,
    vocab: Option<Longest>,
    merges: Option<Longest>,
}

/// The most bytes of a token, or of two that are merged.
struct Longest(usize);

impl<'de> Deserialize<'de> for Longest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LongestVisitor)
    }
}

struct LongestVisitor;

impl<'de> Visitor<'de> for LongestVisitor {
    type Value = Longest;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("tokens with their ids, or a list of merges")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Longest, A::Error> {
        let mut most = 0;
        while let Some((token, _)) = map.next_entry::<String, IgnoredAny>()? {
            most = most.max(token.len());
        }
        Ok(Longest(most))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Longest, A::Error> {
        let mut most = 0;
        while let Some(item) = items.next_element::<Merge>()? {
            most = most.max(item.0);
        }
        Ok(Longest(most))
    }
}

/// A merge as two texts, or as one with a blank between; the length of what it makes.
struct Merge(usize);

impl<'de> Deserialize<'de> for Merge {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MergeVisitor;
        impl<'de> Visitor<'de> for MergeVisitor {
            type Value = Merge;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("two tokens")
            }

            fn visit_str<E>(self, text: &str) -> Result<Merge, E> {
                Ok(Merge(text.len().saturating_sub(1)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Merge, A::Error> {
                let mut sum = 0;
                while let Some(token) = items.next_element::<String>()? {
                    sum += token.len();
                }
                Ok(Merge(sum))
            }
        }
        deserializer.deserialize_any(MergeVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_panic_is_refused_with_its_name() {
        let bpe = r#""model": {"type": "BPE", "vocab": {"a": 0, "b": 1}, "merges": []}"#;
        let check = |text: String| check(text.as_bytes(), Path::new("tokenizer.json"));
        assert!(check(format!("{{{bpe}}}")).is_ok());
        let sequence = r#""normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}"#;
        assert!(check(format!("{{{sequence}, {bpe}}}")).is_ok());
        for (text, part) in [
            (
                format!("{{{}, {bpe}}}", sequence.replace("NFC", "Strip")),
                "normalizer of type \"Strip",
            ),
            (
                r#"{"pre_tokenizer": {"type": "FixedLength", "length": 0}}"#.into(),
                "pre_tokenizer",
            ),
            (
                r#"{"post_processor": 3}"#.into(),
                "post_processor of type 3",
            ),
            (r#"{"model": {"type": "Unigram"}}"#.into(), "not BPE"),
            (
                format!("{{{}}}", bpe.replace("[]", r#"[["a", "b"]]"#)),
                "2 bytes",
            ),
            (
                format!("{{{}}}", bpe.replace("[]", r#"["a b"]"#)),
                "2 bytes",
            ),
            (
                r#"{"model": {"continuing_subword_prefix": "x"}}"#.into(),
                "continuing_subword_prefix",
            ),
            ("{".into(), "EOF"),
            (r#"{"model": {"vocab": 3}}"#.into(), "tokens with their ids"),
        ] {
            let message = check(text).unwrap_err().to_string();
            assert!(
                message.starts_with("tokenizer.json") && message.contains(part),
                "{message}"
            );
        }
    }
}
