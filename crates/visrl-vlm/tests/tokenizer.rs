//! Tokenizers and chat templates against transformers' results, for every case of the fixtures
//! folder, and against damaged files.

// Tests tell how many cases they ran.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use visrl_core::{Content, ImageSource, Message, Prompt, Role};
use visrl_image::Qwen2VlProcessorConfig;
use visrl_testing::fixtures;
use visrl_vlm::Error;
use visrl_vlm::chat::{ChatTemplate, QWEN2_VL_CHAT_TEMPLATE};
use visrl_vlm::tokenizer::{IMAGE_PAD, SPECIAL_TOKENS, Tokenizer, train_bpe};

fn json<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The folders under `group` that hold a tokenizer.
fn folders(group: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join(group)).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.retain(|dir| dir.join("tokenizer.json").exists());
    folders.sort();
    assert!(!folders.is_empty(), "no tokenizer under {group}");
    folders
}

#[test]
fn texts_encode_and_decode_as_in_transformers() {
    #[derive(Deserialize)]
    struct Case {
        text: String,
        ids: Vec<u32>,
        decoded: String,
        decoded_skip_special: String,
    }
    #[derive(Deserialize)]
    struct Cut {
        ids: Vec<u32>,
        text: String,
    }
    let mut cases = 0;
    for dir in folders("tokenizer") {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        for case in json::<Vec<Case>>(&dir.join("golden_encodings.json")) {
            assert_eq!(
                tokenizer.encode(&case.text).unwrap(),
                case.ids,
                "{:?}",
                case.text
            );
            assert_eq!(
                tokenizer.decode(&case.ids, false),
                case.decoded,
                "{:?}",
                case.text
            );
            let skipped = tokenizer.decode(&case.ids, true);
            assert_eq!(skipped, case.decoded_skip_special, "{:?}", case.text);
            cases += 1;
        }
        for case in json::<Vec<Cut>>(&dir.join("golden_partial_utf8.json")) {
            assert_eq!(
                tokenizer.decode(&case.ids, false),
                case.text,
                "{:?}",
                case.ids
            );
            cases += 1;
        }
        // A model's vocabulary is larger than its tokenizer's.
        let beyond = tokenizer.vocab_size() as u32;
        assert_eq!(tokenizer.decode(&[beyond, beyond + 7], false), "");
    }
    println!("tokenizer encodings: {cases} cases");
    assert!(cases > 0);
}

#[derive(Deserialize)]
struct Case {
    tokenizer: String,
    template: String,
    messages: Vec<RawMessage>,
    #[serde(default)]
    kwargs: Option<BTreeMap<String, bool>>,
    rendered: String,
    #[serde(default)]
    grid_thw: Option<Grids>,
    /// Absent where only the rendering and the number of image tokens are known.
    input_ids: Option<Vec<u32>>,
    #[serde(default)]
    n_image_tokens: Option<usize>,
}

#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Grids {
    One([usize; 3]),
    Many(Vec<[usize; 3]>),
}

#[derive(Deserialize)]
struct RawMessage {
    role: Role,
    content: RawContent,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawContent {
    Text(String),
    Parts(Vec<Value>),
}

impl Case {
    fn prompt(&self) -> Prompt {
        let messages = self.messages.iter().map(|message| {
            let content = match &message.content {
                RawContent::Text(text) => vec![Content::Text(text.clone())],
                RawContent::Parts(parts) => parts
                    .iter()
                    .map(|part| match part["type"].as_str().unwrap() {
                        "image" => Content::Image(ImageSource::path("x.png")),
                        "text" => Content::Text(part["text"].as_str().unwrap().to_owned()),
                        other => panic!("{other}"),
                    })
                    .collect(),
            };
            Message {
                role: message.role,
                content,
            }
        });
        Prompt {
            id: self.template.clone(),
            messages: messages.collect(),
        }
    }
}

/// The cases of all files of prompts.
fn prompts() -> Vec<Case> {
    let entries = fs::read_dir(fixtures().join("golden")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("prompts") && name.ends_with(".json")
    });
    files.sort();
    files
        .iter()
        .flat_map(|path| json::<Vec<Case>>(path))
        .collect()
}

/// What the cases call the tokenizer and the template of a model's folder.
fn shared_tokenizer(dir: &Path) -> &'static str {
    let config: Value = json(&dir.join("config.json"));
    match config["model_type"].as_str() {
        Some("qwen3_vl") => "tiny-qwen3",
        _ => "tiny",
    }
}

#[test]
fn prompts_render_and_encode_as_in_transformers() {
    let cases = prompts();
    let models = folders("models");
    let built_in = ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap();
    let mut loaded: BTreeMap<PathBuf, (Tokenizer, ChatTemplate)> = BTreeMap::new();
    let mut compared = 0;
    for case in &cases {
        // Either a tokenizer of its own, or the one that all models of a family share.
        let own = fixtures().join("tokenizer").join(&case.tokenizer);
        let dirs = if own.exists() {
            vec![own]
        } else {
            let of_case = |dir: &&PathBuf| shared_tokenizer(dir) == case.tokenizer;
            models.iter().filter(of_case).cloned().collect()
        };
        assert!(
            !dirs.is_empty(),
            "no folder has the tokenizer {}",
            case.tokenizer
        );
        for dir in dirs {
            let (tokenizer, template) = loaded.entry(dir.clone()).or_insert_with(|| {
                (
                    Tokenizer::from_dir(&dir).unwrap(),
                    ChatTemplate::from_dir(&dir).unwrap(),
                )
            });
            let prompt = case.prompt();
            let flag = |name: &str, or: bool| {
                case.kwargs
                    .as_ref()
                    .and_then(|flags| flags.get(name))
                    .copied()
                    .unwrap_or(or)
            };
            let (generate, number) = (
                flag("add_generation_prompt", true),
                flag("add_vision_id", false),
            );
            let rendered = template.render(&prompt.messages, generate, number).unwrap();
            assert_eq!(
                rendered,
                case.rendered,
                "{} {}",
                dir.display(),
                case.template
            );
            if case.tokenizer != "tiny-qwen3" {
                let rendered = built_in.render(&prompt.messages, generate, number).unwrap();
                assert_eq!(rendered, case.rendered, "built in, {}", case.template);
            }

            // Cases without grids show each image as a single token.
            let grids = match case.grid_thw.clone() {
                Some(Grids::One(grid)) => vec![grid; prompt.images().count()],
                Some(Grids::Many(grids)) => grids,
                None => vec![[1, 2, 2]; prompt.images().count()],
            };
            let merge = if dir.starts_with(fixtures().join("models")) {
                Qwen2VlProcessorConfig::from_dir(&dir).unwrap().merge_size
            } else {
                2
            };
            if generate {
                let template = template.clone().with_numbered_images(number);
                let encode = |most| template.encode_prompt(&prompt, &grids, tokenizer, merge, most);
                let ids = encode(1 << 20).unwrap().ids;
                if let Some(golden) = &case.input_ids {
                    assert_eq!(&ids, golden, "{}", case.template);
                }
                if let Some(tokens) = case.n_image_tokens {
                    let pad = tokenizer.image_pad_id();
                    assert_eq!(ids.iter().filter(|&&id| id == pad).count(), tokens);
                }
                assert_eq!(encode(ids.len()).unwrap().ids, ids);
                let refused = encode(ids.len() - 1);
                assert!(
                    matches!(refused, Err(Error::Prompt { .. })),
                    "{}",
                    case.template
                );
            } else if let Some(golden) = &case.input_ids {
                assert_eq!(&tokenizer.encode(&case.rendered).unwrap(), golden);
            }
            compared += 1;
        }
    }
    println!("prompts: {} cases, {compared} comparisons", cases.len());
    assert!(compared > 0);
}

#[test]
fn every_tokenizer_is_read_and_written() {
    let mut cases = 0;
    for dir in folders("tokenizer").into_iter().chain(folders("models")) {
        let tokenizer = Tokenizer::from_dir(&dir).unwrap();
        let copy = tempfile::tempdir().unwrap();
        tokenizer.save(copy.path()).unwrap();
        for name in ["tokenizer.json", "tokenizer_config.json"] {
            let read = fs::read(dir.join(name)).ok();
            assert!(
                read == fs::read(copy.path().join(name)).ok(),
                "{} {name}",
                dir.display()
            );
        }
        assert_eq!(
            Some(tokenizer.image_pad_id()),
            tokenizer.token_id(IMAGE_PAD)
        );
        assert!(tokenizer.vision_ids().contains(&tokenizer.image_pad_id()));
        assert!(tokenizer.special_ids().contains(&tokenizer.eos_id()));
        assert_eq!(tokenizer.decode(tokenizer.special_ids(), true), "");
        let template = ChatTemplate::from_dir(&dir).unwrap();
        template.save(copy.path()).unwrap();
        assert_eq!(
            ChatTemplate::from_dir(copy.path()).unwrap().source(),
            template.source()
        );
        cases += 1;
    }
    println!("tokenizer folders: {cases} cases");
    assert!(cases > 0);
}

#[test]
fn a_trained_tokenizer_has_the_layout_of_the_models() {
    let text = fs::read_to_string(fixtures().join("golden/prompts.json")).unwrap();
    let json = train_bpe([text.as_str()], 300).unwrap();
    assert_eq!(Tokenizer::from_json(&json).unwrap().vocab_size(), 300);
    let trained: Value = serde_json::from_str(&json).unwrap();
    for dir in folders("models") {
        let model: Value = self::json(&dir.join("tokenizer.json"));
        for part in ["normalizer", "decoder"] {
            assert_eq!(
                trained[part]["type"],
                model[part]["type"],
                "{} {part}",
                dir.display()
            );
        }
        let pattern = "/pre_tokenizer/pretokenizers/0/pattern/Regex";
        assert_eq!(
            trained.pointer(pattern),
            model.pointer(pattern),
            "{}",
            dir.display()
        );
        let tokens = |file: &Value| -> Vec<String> {
            let tokens = file["added_tokens"].as_array().unwrap().iter();
            tokens
                .map(|token| token["content"].as_str().unwrap().to_owned())
                .collect()
        };
        assert_eq!(tokens(&trained), SPECIAL_TOKENS);
        // Later families add tokens behind these.
        let of_model = tokens(&model);
        assert!(
            of_model.starts_with(&SPECIAL_TOKENS.map(str::to_owned)),
            "{}",
            dir.display()
        );
        for byte in ["!", "a", "Ġ", "ł"] {
            assert_eq!(
                trained["model"]["vocab"][byte], model["model"]["vocab"][byte],
                "{byte}"
            );
        }
    }
}

fn damaged(bytes: &[u8], keep: f64, changes: &[(f64, u8)]) -> Vec<u8> {
    let mut bytes = bytes[..(bytes.len() as f64 * keep) as usize].to_vec();
    for (at, value) in changes {
        let at = (bytes.len() as f64 * at) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn damaged_files_never_panic(
        keep in prop_oneof![3 => Just(1.0), 1 => 0.0..1.0f64],
        changes in prop::collection::vec((0.0..1.0f64, prop_oneof![0x20..0x7fu8, any::<u8>()]), 0..8),
        which in any::<prop::sample::Index>(),
    ) {
        let source = &folders("models")[0];
        let dir = tempfile::tempdir().unwrap();
        let names = ["tokenizer.json", "tokenizer_config.json", "chat_template.json"];
        let victim = names[which.index(names.len())];
        for name in names {
            let Ok(bytes) = fs::read(source.join(name)) else { continue };
            let bytes = if name == victim { damaged(&bytes, keep, &changes) } else { bytes };
            fs::write(dir.path().join(name), bytes).unwrap();
        }
        let dir = dir.path();
        match (Tokenizer::from_dir(dir), ChatTemplate::from_dir(dir)) {
            (Ok(tokenizer), Ok(template)) => {
                let prompt = Prompt::user("p", ImageSource::path("x.png"), "What is it?");
                let encoded = template.encode_prompt(&prompt, &[[1, 2, 2]], &tokenizer, 2, 500);
                if let Ok(encoded) = encoded {
                    tokenizer.decode(&encoded.ids, true);
                }
            }
            (tokenizer, template) => {
                for error in [tokenizer.err(), template.err()].into_iter().flatten() {
                    prop_assert!(error.to_string().contains(victim), "{error}");
                }
            }
        }
    }

    #[test]
    fn any_text_comes_back(text in "\\PC{0,40}") {
        let tokenizer = Tokenizer::from_dir(&folders("models")[0]).unwrap();
        let ids = tokenizer.encode(&text).unwrap();
        // The tokenizer composes characters, so that what comes back is a fixed point.
        let back = tokenizer.decode(&ids, false);
        prop_assert_eq!(tokenizer.encode(&back).unwrap(), ids);
    }

    #[test]
    fn any_ids_decode(ids in prop::collection::vec(0u32..700, 0..40)) {
        let tokenizer = Tokenizer::from_dir(&folders("models")[0]).unwrap();
        let whole = tokenizer.decode(&ids, false);
        let known: Vec<u32> =
            ids.iter().copied().filter(|&id| (id as usize) < tokenizer.vocab_size()).collect();
        prop_assert_eq!(tokenizer.decode(&known, false), whole);
    }
}
