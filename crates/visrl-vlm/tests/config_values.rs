//! Values of a checkpoint's settings that no model can have, and names that nothing reads.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use visrl_testing::{part, warnings_of};
use visrl_vlm::{Pretrained, QwenVl, QwenVlConfig};

/// A copy of a small checkpoint.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(part(&format!("models/{name}"))).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
    }
    dir
}

fn json_of(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Sets a field of a file, in the part of the language model where there is one.
fn set(dir: &Path, file: &str, field: &str, value: &Value) {
    let path = dir.join(file);
    let mut whole = json_of(&path);
    let place = match whole.get("text_config").is_some() && !field.ends_with("_token_id") {
        true => &mut whole["text_config"],
        false => &mut whole,
    };
    let (part, field) = field.rsplit_once('/').unwrap_or(("", field));
    let place = if part.is_empty() {
        place
    } else {
        &mut place[part]
    };
    place[field] = value.clone();
    fs::write(path, whole.to_string()).unwrap();
}

fn load(dir: &Path) -> (Result<(), String>, Vec<String>) {
    let device = Device::flex();
    let (read, told) = warnings_of(|| Pretrained::<QwenVl>::load(dir, &device));
    (read.map(drop).map_err(|error| error.to_string()), told)
}

const MODELS: [&str; 3] = ["tiny-tied", "tiny-qwen2_5-vl", "tiny-qwen3-vl"];

#[test]
fn good_checkpoints_are_read_quietly() {
    for name in MODELS {
        let (read, told) = load(copy(name).path());
        assert_eq!((read, told), (Ok(()), Vec::new()), "{name}");
    }
}

#[test]
fn values_that_no_model_can_have_are_refused_by_name() {
    for name in MODELS {
        for (field, value) in [
            ("image_token_id", json!(5)),
            ("image_token_id", json!(-1)),
            ("image_token_id", json!("x")),
            ("video_token_id", json!(5)),
            ("rms_norm_eps", json!(1e40)),
            ("rms_norm_eps", json!(0)),
            ("rms_norm_eps", json!(-1)),
            ("rms_norm_eps", json!("1e-6")),
            ("rms_norm_eps", json!(2)),
            ("rope_theta", json!(1e40)),
            ("rope_theta", json!(0.5)),
            ("rope_theta", json!(true)),
            ("tie_word_embeddings", json!("yes")),
            ("use_sliding_window", json!("yes")),
            ("num_hidden_layers", json!(0)),
            ("vocab_size", json!(1e40)),
            ("hidden_size", json!(-4)),
        ] {
            let dir = copy(name);
            let config = json_of(&dir.path().join("config.json"));
            let text = config.get("text_config").unwrap_or(&config);
            let places = ["rope_scaling", "rope_parameters"];
            let inner = places
                .iter()
                .find(|place| text[**place].get(field).is_some());
            let place = inner.map_or(field.to_owned(), |place| format!("{place}/{field}"));
            set(dir.path(), "config.json", &place, &value);
            let (read, _) = load(dir.path());
            let error = read.expect_err(&format!("{name}: {field} = {value}"));
            assert!(
                error.contains("config.json") && error.contains(field),
                "{name}: {field} = {value}: {error}"
            );
        }
    }
}

#[test]
fn switches_and_formats_that_are_none_are_told_or_refused() {
    let third = "tiny-qwen3-vl";
    for (field, value) in [
        ("use_sliding_window", json!(true)),
        ("dtype", json!("foo")),
        ("torch_dtype", json!(3)),
        ("model_type", json!(3)),
        ("mlp_bias", json!("yes")),
    ] {
        let dir = copy(third);
        set(dir.path(), "config.json", field, &value);
        let (read, told) = load(dir.path());
        assert_eq!(read, Ok(()), "{field}");
        let expected = format!("field `text_config.{field}`: ");
        assert!(
            told.len() == 1 && told[0].contains(&expected),
            "{field}: {told:?}"
        );
    }
    let dir = copy(third);
    let config = json_of(&dir.path().join("config.json"));
    let places = ["rope_scaling", "rope_parameters"];
    let place = places
        .iter()
        .find(|place| config["text_config"][**place].is_object());
    let field = format!("{}/mrope_interleaved", place.unwrap());
    set(dir.path(), "config.json", &field, &json!("yes"));
    let error = QwenVlConfig::from_dir(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("mrope_interleaved") && error.contains("yes"),
        "{error}"
    );
    let dir = copy("tiny-qwen2_5-vl");
    let path = dir.path().join("config.json");
    let mut config = json_of(&path);
    config["vision_config"]["fullatt_block_indexes"] = json!([99]);
    fs::write(path, config.to_string()).unwrap();
    let (_, told) = load(dir.path());
    assert!(
        told.len() == 1 && told[0].contains("`vision_config.fullatt_block_indexes`: has 99"),
        "{told:?}"
    );
}

#[test]
fn settings_of_generation_that_transformers_does_not_know_are_told() {
    let dir = copy("tiny-tied");
    let path = dir.path().join("generation_config.json");
    // As the hub has them for Qwen2-VL, Qwen2.5-VL and Qwen3-VL.
    let hub = json!({
        "bos_token_id": 1, "pad_token_id": 1, "do_sample": true, "repetition_penalty": 1.05,
        "temperature": 0.000_001, "top_k": 1, "top_p": 0.001, "transformers_version": "4.37.0",
        "attn_implementation": "flash_attention_2",
    });
    let mut whole = json_of(&dir.path().join("config.json"));
    whole
        .as_object_mut()
        .unwrap()
        .retain(|name, _| name == "eos_token_id");
    let mut hub = hub.as_object().unwrap().clone();
    if let Some(end) = whole.get("eos_token_id") {
        hub.insert("eos_token_id".into(), end.clone());
    }
    fs::write(&path, Value::from(hub.clone()).to_string()).unwrap();
    assert_eq!(load(dir.path()), (Ok(()), Vec::new()));
    hub.insert("temprature".into(), json!(0.5));
    fs::write(&path, Value::from(hub).to_string()).unwrap();
    let (read, told) = load(dir.path());
    assert_eq!(read, Ok(()));
    let expected = "generation_config.json: field `temprature`: is 0.5, which is not known";
    assert!(told.len() == 1 && told[0].contains(expected), "{told:?}");
    fs::write(&path, "[1]").unwrap();
    let error = load(dir.path()).0.unwrap_err();
    assert!(error.contains("generation_config.json"), "{error}");
}

#[test]
fn settings_of_generation_that_are_not_followed_are_told() {
    let dir = copy("tiny-tied");
    let path = dir.path().join("generation_config.json");
    let mut file = json!({
        "num_beams": 1, "min_length": 0, "suppress_tokens": null, "bad_words_ids": [],
        "guidance_scale": 1.0, "no_repeat_ngram_size": 0, "repetition_penalty": 1.05,
        "max_new_tokens": 8, "stop_strings": ["</answer>"],
    });
    fs::write(&path, file.to_string()).unwrap();
    assert_eq!(load(dir.path()), (Ok(()), Vec::new()));
    let not_followed = "which changes what transformers generates";
    for (name, value, expected) in [
        ("suppress_tokens", json!([5]), not_followed),
        ("bad_words_ids", json!([[5]]), not_followed),
        ("forced_eos_token_id", json!(0), not_followed),
        ("min_new_tokens", json!(3), not_followed),
        ("num_beams", json!(4), not_followed),
        ("temperature", json!("a"), "expected a number"),
        ("pad_token_id", json!("x"), "expected the id of a token"),
        ("do_sample", json!(2), "expected true or false"),
    ] {
        let before = file.clone();
        file[name] = value;
        fs::write(&path, file.to_string()).unwrap();
        let (read, told) = load(dir.path());
        assert_eq!(read, Ok(()));
        let field = format!("generation_config.json: field `{name}`: is ");
        assert!(
            told.len() == 1 && told[0].contains(&field) && told[0].contains(expected),
            "{name}: {told:?}"
        );
        file = before;
    }
}
