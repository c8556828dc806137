//! `tokenizer.json` and `tokenizer_config.json`.

use std::fs;

use serde_json::{Value, json};
use visrl_vlm::Tokenizer;
use visrl_vlm::tokenizer::train_bpe;

use crate::mutate::{self, Rng};
use crate::{MIB, folder, group};

/// Parts of other kinds of tokenizers.
const PARTS: [(&str, &str); 24] = [
    ("normalizer", r#"{"type": "NFC"}"#),
    ("normalizer", r#"{"type": "Lowercase"}"#),
    (
        "normalizer",
        r#"{"type": "Precompiled", "precompiled_charsmap": "AAAA"}"#,
    ),
    (
        "normalizer",
        r#"{"type": "Replace", "pattern": {"Regex": "(a*)*b"}, "content": "x"}"#,
    ),
    (
        "normalizer",
        r#"{"type": "Replace", "pattern": {"String": ""}, "content": "xxxx"}"#,
    ),
    (
        "normalizer",
        r#"{"type": "Strip", "strip_left": true, "strip_right": true}"#,
    ),
    ("normalizer", r#"{"type": "Prepend", "prepend": "xx"}"#),
    ("normalizer", r#"{"type": "Sequence", "normalizers": []}"#),
    ("pre_tokenizer", r#"{"type": "Whitespace"}"#),
    ("pre_tokenizer", r#"{"type": "FixedLength", "length": 0}"#),
    (
        "pre_tokenizer",
        r#"{"type": "Metaspace", "replacement": "_", "prepend_scheme": "always"}"#,
    ),
    (
        "pre_tokenizer",
        r#"{"type": "Digits", "individual_digits": true}"#,
    ),
    (
        "pre_tokenizer",
        r#"{"type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated", "invert": false}"#,
    ),
    (
        "pre_tokenizer",
        r#"{"type": "Split", "pattern": {"Regex": ""}, "behavior": "Removed", "invert": true}"#,
    ),
    (
        "pre_tokenizer",
        r#"{"type": "Sequence", "pretokenizers": []}"#,
    ),
    (
        "pre_tokenizer",
        r#"{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}"#,
    ),
    (
        "post_processor",
        r#"{"type": "BertProcessing", "sep": ["a", 1], "cls": ["b", 2]}"#,
    ),
    (
        "post_processor",
        r#"{"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "[C]", "type_id": 0}}],
            "pair": [], "special_tokens": {}}"#,
    ),
    (
        "model",
        r#"{"type": "WordPiece", "unk_token": "[U]", "vocab": {"a": 0}}"#,
    ),
    (
        "model",
        r#"{"type": "Unigram", "unk_id": 5, "vocab": [["a", 0.0]]}"#,
    ),
    (
        "model",
        r#"{"type": "WordLevel", "unk_token": "u", "vocab": {"a": 4294967295}}"#,
    ),
    (
        "model",
        r#"{"type": "BPE", "vocab": {"a": 0, "b": 4294967295}, "merges": [["a", "b"]]}"#,
    ),
    (
        "truncation",
        r#"{"max_length": 0, "stride": 9, "strategy": "LongestFirst", "direction": "Left"}"#,
    ),
    (
        "padding",
        r#"{"strategy": {"Fixed": 1000000000000}, "direction": "Left", "pad_to_multiple_of": 0,
            "pad_id": 0, "pad_type_id": 0, "pad_token": "x"}"#,
    ),
];

/// Changes that keep to the fields which the format has.
fn bend(rng: &mut Rng, root: &mut Value) {
    match rng.below(3) {
        0 => {
            let (field, text) = rng.pick(&PARTS);
            root[*field] = serde_json::from_str(text).unwrap();
        }
        1 => {
            // Ids of the vocabulary and of the special tokens.
            let ids = [0, 1, 255, 299, 1 << 20, u32::MAX as u64, u64::MAX];
            let id = *rng.pick(&ids);
            if rng.one_in(2) {
                let vocab = root["model"]["vocab"].as_object_mut().unwrap();
                let at = rng.below(vocab.len());
                *vocab.values_mut().nth(at).unwrap() = id.into();
            } else {
                let tokens = root["added_tokens"].as_array_mut().unwrap();
                let at = rng.below(tokens.len());
                tokens[at]["id"] = id.into();
            }
        }
        _ => {
            let tokens = root["added_tokens"].as_array_mut().unwrap();
            let at = rng.below(tokens.len());
            tokens[at]["content"] = ["", " ", "a", "<|image_pad|>"][rng.below(4)].into();
            tokens[at]["normalized"] = rng.one_in(2).into();
            tokens[at]["single_word"] = rng.one_in(2).into();
            tokens[at]["lstrip"] = rng.one_in(2).into();
        }
    }
}

#[test]
fn tokenizer_files() {
    let dir = folder();
    let text = train_bpe(["the cat and the hat"], 290).unwrap();
    Tokenizer::from_json(&text)
        .unwrap()
        .save(dir.path())
        .unwrap();
    let main: Value = serde_json::from_str(&text).unwrap();
    let path = dir.path().join("tokenizer.json");
    let config_path = dir.path().join("tokenizer_config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&config_path).unwrap()).unwrap();
    let next = Tokenizer::from_json(&text).unwrap().vocab_size();
    config["added_tokens_decoder"] = json!({ (next + 1).to_string(): {
        "content": "<a>", "special": true, "lstrip": true, "rstrip": false, "normalized": false,
        "single_word": false,
    } });
    let added = json!({ "<b>": next, "<c>": next + 7 });
    let added_path = dir.path().join("added_tokens.json");
    group("tokenizer.json", 64 * MIB, |rng| {
        fs::write(&config_path, config.to_string()).unwrap();
        let _ = fs::remove_file(&added_path);
        if rng.one_in(4) {
            fs::write(&added_path, mutate::json_text(rng, &added)).unwrap();
        }
        match rng.below(8) {
            0 => {
                fs::write(&path, &text).unwrap();
                fs::write(&config_path, mutate::json_text(rng, &config)).unwrap();
            }
            1..4 => {
                let mut bent = main.clone();
                for _ in 0..1 + rng.below(2) {
                    bend(rng, &mut bent);
                    if !bent["model"]["vocab"].is_object() || !bent["added_tokens"].is_array() {
                        break;
                    }
                }
                fs::write(&path, bent.to_string()).unwrap();
            }
            _ => fs::write(&path, mutate::json_text(rng, &main)).unwrap(),
        }
        let Ok(tokenizer) = Tokenizer::from_dir(dir.path()) else {
            return false;
        };
        for text in [
            "",
            "the cat <|image_pad|> 12 \u{e9}\u{1f600}\r\n  x",
            "aaaaaaaaaaaaaaaaaaab",
        ] {
            if let Ok(ids) = tokenizer.encode(text) {
                let _ = tokenizer.decode(&ids, rng.one_in(2));
            }
        }
        let _ = tokenizer.decode(&[0, 5, 300, u32::MAX], false);
        let _ = (
            tokenizer.vocab_size(),
            tokenizer.special_ids(),
            tokenizer.vision_ids(),
        );
        assert_eq!(
            tokenizer.token_id("<|image_pad|>"),
            Some(tokenizer.image_pad_id())
        );
        true
    });
}
