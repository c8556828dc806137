//! Tokens that stand beside `tokenizer.json` have the ids that the other files give them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use visrl_testing::warnings_of;
use visrl_vlm::tokenizer::train_bpe;
use visrl_vlm::{CheckpointFiles, Tokenizer};

const CONFIG: &str = "tokenizer_config.json";
const ADDED: &str = "added_tokens.json";
const SPECIAL: &str = "special_tokens_map.json";

/// A folder with a tokenizer and more files.
fn folder(files: &[(&str, Value)]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let tokenizer = train_bpe(["the cat and the hat"; 3], 300).unwrap();
    Tokenizer::from_json(&tokenizer)
        .unwrap()
        .save(dir.path())
        .unwrap();
    for (name, value) in files {
        fs::write(dir.path().join(name), value.to_string()).unwrap();
    }
    dir
}

fn read(dir: &Path) -> Tokenizer {
    Tokenizer::from_dir(dir).unwrap()
}

/// What a decoder in `tokenizer_config.json` says of one token.
fn decoder(id: u32, content: &str, special: bool) -> Value {
    let token = json!({
        "content": content, "special": special, "lstrip": false, "rstrip": false,
        "normalized": false, "single_word": false,
    });
    json!({ "added_tokens_decoder": { id.to_string(): token } })
}

#[test]
fn a_token_of_either_file_is_one_token_with_its_id() {
    let plain = read(folder(&[]).path());
    let next = plain.vocab_size() as u32;
    assert!(plain.encode("a <label> b").unwrap().len() > 6);
    // The next free id, and one beyond a gap.
    for id in [next, next + 20] {
        let files = [
            (CONFIG, decoder(id, "<label>", false)),
            (ADDED, json!({ "<label>": id })),
        ];
        for file in [&files[..1], &files[1..], &files] {
            let dir = folder(file);
            let tokenizer = read(dir.path());
            assert_eq!(tokenizer.token_id("<label>"), Some(id), "{file:?}");
            let ids = tokenizer.encode("a <label> b").unwrap();
            let mut expected = plain.encode("a ").unwrap();
            expected.push(id);
            expected.extend(plain.encode(" b").unwrap());
            assert_eq!(ids, expected, "{file:?}");
            assert_eq!(tokenizer.decode(&ids, true), "a <label> b");
            assert_eq!(
                tokenizer.encode("the hat").unwrap(),
                plain.encode("the hat").unwrap()
            );
            assert_eq!(tokenizer.special_ids(), plain.special_ids());
        }
    }
}

#[test]
fn tokens_can_be_special() {
    let next = read(folder(&[]).path()).vocab_size() as u32;
    let by_decoder = folder(&[(CONFIG, decoder(next, "<tag>", true))]);
    let mut config = json!({ "additional_special_tokens": ["<tag>", "<other>"] });
    let by_name = folder(&[(CONFIG, config.clone()), (ADDED, json!({ "<tag>": next }))]);
    config["additional_special_tokens"] = json!([{ "content": "<tag>" }]);
    let by_map = folder(&[(SPECIAL, config.clone())]);
    config["extra_special_tokens"] = json!({ "role": "<tag>" });
    config["additional_special_tokens"] = Value::Null;
    let by_role = folder(&[(CONFIG, config)]);
    for dir in [&by_decoder, &by_name, &by_map, &by_role] {
        let tokenizer = read(dir.path());
        assert_eq!(tokenizer.token_id("<tag>"), Some(next));
        let ids = tokenizer.encode("the<tag>").unwrap();
        assert_eq!(ids.last(), Some(&next));
        assert_eq!(tokenizer.decode(&ids, true), "the");
        assert!(tokenizer.special_ids().contains(&next));
    }
    // One that has a name alone comes after those that have an id.
    assert_eq!(read(by_name.path()).token_id("<other>"), Some(next + 1));
}

#[test]
fn a_token_of_the_vocabulary_becomes_an_added_one() {
    let plain = read(folder(&[]).path());
    let the = plain.encode("the").unwrap();
    assert_eq!(the.len(), 1);
    let part = ["th", "he"]
        .into_iter()
        .find(|part| plain.token_id(part).is_some());
    let part = part.unwrap();
    let id = plain.token_id(part).unwrap();
    let dir = folder(&[(CONFIG, decoder(id, part, false))]);
    let ids = read(dir.path()).encode("the").unwrap();
    assert!(ids.len() == 2 && ids.contains(&id), "{ids:?}");
}

#[test]
fn ids_that_are_taken_are_refused_with_file_and_field() {
    let plain = read(folder(&[]).path());
    let (next, image) = (plain.vocab_size() as u32, plain.image_pad_id());
    for (file, value, parts) in [
        (
            CONFIG,
            decoder(image, "<label>", false),
            [
                "tokenizer_config.json: field `added_tokens_decoder.",
                "which `<|image_pad|>` has",
            ],
        ),
        (
            CONFIG,
            decoder(next, "<|image_pad|>", true),
            [
                "tokenizer_config.json: field `added_tokens_decoder.",
                "but it has",
            ],
        ),
        (
            ADDED,
            json!({ "<label>": image }),
            [
                "added_tokens.json: field `<label>`",
                "which `<|image_pad|>` has",
            ],
        ),
        (
            ADDED,
            json!({ "<label>": next, "<other>": next }),
            ["added_tokens.json: field `<", "` has"],
        ),
        (
            ADDED,
            json!({ "<label>": 4_000_000_000u32 }),
            ["added_tokens.json: field `<label>`", "beyond"],
        ),
        (
            ADDED,
            json!({ "<label>": -1 }),
            ["field `<label>`", "expected an id"],
        ),
        (
            ADDED,
            json!({ "": next }),
            ["added_tokens.json", "without a text"],
        ),
        (
            ADDED,
            json!([1]),
            ["added_tokens.json", "expected an object"],
        ),
        (
            CONFIG,
            json!({ "added_tokens_decoder": { "x": { "content": "a" } } }),
            ["`added_tokens_decoder.x`", "id"],
        ),
        (
            CONFIG,
            json!({ "added_tokens_decoder": { "7": {} } }),
            ["`added_tokens_decoder.7`", "content"],
        ),
        (
            SPECIAL,
            json!({ "additional_special_tokens": "<a>" }),
            [
                "special_tokens_map.json: field `additional_special_tokens`",
                "list",
            ],
        ),
    ] {
        let dir = folder(&[(file, value)]);
        let message = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}");
        }
    }
    // Both files, and not the same.
    let dir = folder(&[
        (CONFIG, decoder(next, "<label>", false)),
        (ADDED, json!({ "<label>": next + 1 })),
    ]);
    let message = Tokenizer::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        message.contains("added_tokens.json: field `<label>`"),
        "{message}"
    );
}

#[test]
fn every_file_of_the_tokenizer_is_kept() {
    let next = read(folder(&[]).path()).vocab_size() as u32;
    let dir = folder(&[
        (ADDED, json!({ "<label>": next })),
        (SPECIAL, json!({ "eos_token": "<|im_end|>" })),
    ]);
    for name in ["vocab.json", "merges.txt"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    let kept = CheckpointFiles::from_dir(dir.path()).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert_eq!(
            kept.get(name),
            Some(&fs::read(&path).unwrap()[..]),
            "{name}"
        );
    }
}

#[test]
fn a_token_that_is_there_twice_is_told() {
    let next = read(folder(&[]).path()).vocab_size() as u32;
    let dir = folder(&[]);
    let text = format!("{{\"<label>\": 7, \"<label>\": {next}}}");
    fs::write(dir.path().join(ADDED), text).unwrap();
    let (tokenizer, told) = warnings_of(|| read(dir.path()));
    assert_eq!(tokenizer.token_id("<label>"), Some(next));
    let expected = format!("{ADDED}: field `<label>`: is there twice");
    assert!(told.len() == 1 && told[0].contains(&expected), "{told:?}");
}
