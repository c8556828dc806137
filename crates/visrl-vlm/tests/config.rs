//! What `config.json` leaves out has transformers' default, in both layouts of both models.

use std::fs;

use serde_json::{Map, Value, json};
use visrl_vlm::QwenVlConfig;
use visrl_vlm::qwen_vl::Windows;

fn read(config: &Value) -> Result<QwenVlConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    QwenVlConfig::from_dir(dir.path()).map_err(|error| error.to_string())
}

/// The text part with transformers' default of every field that has one.
fn text() -> Map<String, Value> {
    let value = json!({
        "vocab_size": 152_064,
        "hidden_size": 8192,
        "intermediate_size": 29_568,
        "num_hidden_layers": 80,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_theta": 1e6,
        "tie_word_embeddings": false,
        "use_sliding_window": false,
        "layer_types": null,
        "head_dim": null,
        "eos_token_id": 151_645,
        "rope_scaling": { "type": "mrope", "mrope_section": [16, 24, 24] },
    });
    value.as_object().unwrap().clone()
}

/// Fields whose default is not that of transformers, which has none.
const WITHOUT_DEFAULT: [&str; 3] = ["eos_token_id", "rope_scaling", "model_type"];

/// The vision part with every default but the width that must be the language model's.
fn vision(model_type: &str) -> Map<String, Value> {
    let mut value = json!({
        "depth": 32,
        "num_heads": 16,
        "in_channels": 3,
        "patch_size": 14,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    });
    let own = match model_type {
        "qwen2_vl" => json!({
            "embed_dim": 1280, "hidden_size": 8192, "hidden_act": "quick_gelu", "mlp_ratio": 4,
        }),
        _ => json!({
            "hidden_size": 3584, "out_hidden_size": 8192, "hidden_act": "silu",
            "intermediate_size": 3420, "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        }),
    };
    let fields = value.as_object_mut().unwrap();
    fields.extend(own.as_object().unwrap().clone());
    fields.clone()
}

/// A configuration in one of the layouts.
fn whole(
    model_type: &str,
    nested: bool,
    text: Map<String, Value>,
    vision: Map<String, Value>,
) -> Value {
    let mut root = json!({
        "model_type": model_type, "image_token_id": 151_655, "video_token_id": 151_656,
        "vision_config": vision,
    });
    match nested {
        true => root["text_config"] = text.into(),
        false => root.as_object_mut().unwrap().extend(text),
    }
    root
}

#[test]
fn a_field_that_is_left_out_or_null_has_its_default() {
    for model_type in ["qwen2_vl", "qwen2_5_vl"] {
        for nested in [false, true] {
            let given = read(&whole(model_type, nested, text(), vision(model_type))).unwrap();
            let same = |config: Value, what: &str| {
                let found = read(&config).unwrap_or_else(|error| panic!("{what}: {error}"));
                let found = QwenVlConfig {
                    raw: given.raw.clone(),
                    ..found
                };
                assert_eq!(found, given, "{what}");
            };
            for (field, value) in text() {
                if WITHOUT_DEFAULT.contains(&&*field) {
                    continue;
                }
                let mut changed = text();
                changed.remove(&field);
                same(
                    whole(model_type, nested, changed.clone(), vision(model_type)),
                    &field,
                );
                // As many as query heads, which transformers makes of null.
                if field != "num_key_value_heads" {
                    changed.insert(field.clone(), Value::Null);
                    let what = format!("{field} null, not {value}");
                    same(
                        whole(model_type, nested, changed, vision(model_type)),
                        &what,
                    );
                }
            }
            for (field, value) in vision(model_type) {
                if value == 8192 {
                    continue;
                }
                for null in [false, true] {
                    let mut changed = vision(model_type);
                    match null {
                        true => changed.insert(field.clone(), Value::Null),
                        false => changed.remove(&field),
                    };
                    same(whole(model_type, nested, text(), changed), &field);
                }
            }
            for field in ["image_token_id", "video_token_id"] {
                let mut config = whole(model_type, nested, text(), vision(model_type));
                config[field] = Value::Null;
                same(config.clone(), field);
                config.as_object_mut().unwrap().remove(field);
                same(config, field);
            }
        }
    }
}

#[test]
fn what_transformers_4_49_saves_of_the_hub_s_models_is_read() {
    let root = |sizes: Value, vision: Value, model_type: &str| {
        let mut root = json!({
            "model_type": model_type, "eos_token_id": 151_645, "hidden_act": "silu",
            "num_key_value_heads": 2, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
            "rope_scaling":
                { "mrope_section": [16, 24, 24], "rope_type": "default", "type": "default" },
            "tie_word_embeddings": true, "use_sliding_window": false, "vocab_size": 151_936,
            "image_token_id": 151_655, "video_token_id": 151_656, "vision_config": vision,
        });
        let sizes = sizes.as_object().unwrap().clone();
        root.as_object_mut().unwrap().extend(sizes);
        root
    };
    let config = root(
        json!({ "hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12,
            "num_hidden_layers": 28 }),
        json!({ "hidden_size": 1536, "in_chans": 3, "spatial_patch_size": 14 }),
        "qwen2_vl",
    );
    let vision = read(&config).unwrap().vision;
    assert_eq!(
        (vision.depth, vision.embed_dim, vision.heads),
        (32, 1280, 16)
    );
    assert_eq!(
        (vision.intermediate_size, vision.patch_dim()),
        (5120, 3 * 2 * 14 * 14)
    );

    let config = root(
        json!({ "hidden_size": 2048, "intermediate_size": 11_008, "num_attention_heads": 16,
            "num_hidden_layers": 36 }),
        json!({ "hidden_size": 1280, "in_chans": 3, "out_hidden_size": 2048,
            "spatial_patch_size": 14, "tokens_per_second": 2 }),
        "qwen2_5_vl",
    );
    let vision = read(&config).unwrap().vision;
    assert_eq!(
        (vision.depth, vision.heads, vision.intermediate_size),
        (32, 16, 3420)
    );
    let windows = Windows {
        side: 4,
        full_blocks: vec![7, 15, 23, 31],
    };
    assert_eq!(vision.windows, Some(windows));
}

#[test]
fn rope_settings_stand_in_either_field() {
    let flat = |scaling: Value, parameters: Value| {
        let mut text = text();
        text.insert("rope_scaling".into(), scaling);
        text.insert("rope_parameters".into(), parameters);
        read(&whole("qwen2_vl", false, text, vision("qwen2_vl")))
    };
    let set = json!({ "mrope_section": [16, 24, 24], "rope_theta": 5e5 });
    let other = json!({ "mrope_section": [20, 20, 24], "rope_theta": 5e4 });
    for (scaling, parameters) in [
        (set.clone(), Value::Null),
        (Value::Null, set.clone()),
        (json!({}), set.clone()),
        (set.clone(), other.clone()),
    ] {
        let text = flat(scaling, parameters).unwrap().text;
        assert_eq!(text.mrope_section, [16, 24, 24]);
        assert_eq!(text.rope_theta, 5e5);
    }
    let message = flat(Value::Null, Value::Null).unwrap_err();
    assert!(message.contains("`rope_scaling`: is missing"), "{message}");
    let message = flat(
        json!({ "rope_type": "yarn" , "mrope_section": [16, 24, 24] }),
        other,
    );
    assert!(message.unwrap_err().contains("`rope_scaling.rope_type`"));
}

#[test]
fn errors_show_defaults_and_name_their_place() {
    let nested = |text: Map<String, Value>, vision: Map<String, Value>| {
        read(&whole("qwen2_5_vl", true, text, vision)).unwrap_err()
    };
    let mut small = text();
    small.insert("hidden_size".into(), 2048.into());
    small.insert("num_attention_heads".into(), 16.into());
    let message = nested(small, Map::new());
    for part in ["`vision_config.out_hidden_size`", "3584", "2048"] {
        assert!(message.contains(part), "{message}");
    }
    let mut narrow = text();
    narrow.insert("num_attention_heads".into(), 12.into());
    let message = nested(narrow, vision("qwen2_5_vl"));
    for part in [
        "`text_config.num_attention_heads`",
        "8192",
        "num_key_value_heads 8",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let mut sliding = text();
    sliding.insert(
        "layer_types".into(),
        json!(["full_attention", "sliding_attention"]),
    );
    let message = nested(sliding, vision("qwen2_5_vl"));
    assert!(message.contains("`text_config.layer_types`"), "{message}");
    let mut small = text();
    small.insert("vocab_size".into(), 1000.into());
    let mut config = whole("qwen2_vl", false, small, vision("qwen2_vl"));
    config.as_object_mut().unwrap().remove("image_token_id");
    let message = read(&config).unwrap_err();
    assert!(message.contains("`image_token_id`: is 151655"), "{message}");
    config["text_config"] = "x".into();
    let message = read(&config).unwrap_err();
    assert!(message.contains("`text_config`: is \"x\""), "{message}");
    let mut heads = text();
    heads.insert("num_key_value_heads".into(), Value::Null);
    let config = read(&whole("qwen2_vl", false, heads, vision("qwen2_vl"))).unwrap();
    assert_eq!(config.text.kv_heads, 64);
}
