//! What `config.json` leaves out has transformers' default, in both layouts of both models.

use std::fs;

use serde_json::{Map, Value, json};
use visrl_testing::{part, warnings_of};
use visrl_vlm::QwenVlConfig;

fn read(config: &Value) -> Result<QwenVlConfig, String> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    QwenVlConfig::from_dir(dir.path()).map_err(|error| error.to_string())
}

/// A configuration with a value at a place, `/` between levels.
fn with(config: &Value, place: &str, value: &Value) -> Value {
    let mut config = config.clone();
    let (part, field) = place.rsplit_once('/').unwrap_or(("", place));
    let part = match part {
        "" => &mut config,
        part => &mut config[part],
    };
    part[field] = value.clone();
    config
}

/// What is told of a configuration that is read.
fn told(config: &Value) -> Vec<String> {
    let (read, told) = warnings_of(|| read(config));
    read.unwrap_or_else(|error| panic!("{config}: {error}"));
    told
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
    // Transformers' sections where none are given, which must fit.
    let text = flat(Value::Null, Value::Null).unwrap().text;
    assert_eq!((text.mrope_section, text.rope_theta), ([16, 24, 24], 1e6));
    let small = json!({ "mrope_section": [16, 24, 25] });
    let message = flat(Value::Null, small).unwrap_err();
    let expected = "`rope_parameters.mrope_section`: is [16, 24, 25] but must sum";
    assert!(message.contains(expected), "{message}");
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

#[test]
fn what_any_version_of_transformers_saves_is_read_quietly() {
    let text = fs::read_to_string(part("configs.json")).unwrap();
    let configs: Map<String, Value> = serde_json::from_str(&text).unwrap();
    assert!(configs.len() >= 15);
    for (name, config) in &configs {
        assert_eq!(told(config), [""; 0], "{name}");
        let hub = format!("hub {}", name.split(' ').next_back().unwrap());
        let of_hub = read(&configs[&hub]).unwrap();
        let found = QwenVlConfig {
            raw: of_hub.raw.clone(),
            ..read(config).unwrap()
        };
        assert_eq!(found, of_hub, "{name}");
    }
}

#[test]
fn what_is_not_computed_or_said_twice_is_told() {
    let flat = whole("qwen2_vl", false, text(), vision("qwen2_vl"));
    let nested = whole("qwen2_5_vl", true, text(), vision("qwen2_5_vl"));
    let other = json!({ "mrope_section": [20, 20, 24], "rope_theta": 1e6 });
    for (config, place, value, field) in [
        (
            &flat,
            "rope_parameters",
            other,
            "rope_parameters.mrope_section",
        ),
        (
            &flat,
            "rope_parameters",
            json!({ "rope_theta": 5e5 }),
            "rope_parameters.rope_theta",
        ),
        (
            &flat,
            "rope_scaling",
            json!({ "mrope_section": [16, 24, 24], "rope_theta": 5e5 }),
            "rope_theta",
        ),
        (
            &flat,
            "rope_scaling",
            json!({ "mrope_section": [16, 24, 24], "factor": 4.0 }),
            "rope_scaling.factor",
        ),
        (
            &flat,
            "partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor",
        ),
        (
            &nested,
            "text_config/rope_scaling",
            json!({ "mrope_section": [16, 24, 24], "partial_rotary_factor": 0.5 }),
            "text_config.rope_scaling.partial_rotary_factor",
        ),
        (&flat, "attention_bias", json!(false), "attention_bias"),
        (&flat, "logit_scale", json!(0.5), "logit_scale"),
        (
            &nested,
            "text_config/sparse",
            json!([1]),
            "text_config.sparse",
        ),
        (
            &nested,
            "vision_config/num_attention_heads",
            json!(8),
            "vision_config.num_attention_heads",
        ),
        (
            &nested,
            "vision_config/embed_dim",
            json!(1280),
            "vision_config.embed_dim",
        ),
        (
            &nested,
            "text_config/model_type",
            json!("llama"),
            "text_config.model_type",
        ),
        (&nested, "hidden_size", json!(4096), "hidden_size"),
        (
            &nested,
            "tie_word_embeddings",
            json!(true),
            "tie_word_embeddings",
        ),
    ] {
        let told = told(&with(config, place, &value));
        let expected = format!("config.json: field `{field}`: is ");
        let is_right = |text: &String| text.contains(&expected);
        assert!(told.iter().any(is_right), "{place}: {told:?}");
        assert_eq!(told.len(), 1, "{told:?}");
    }
    // The same in both places, whole heads, and windows that no layer has are no other answer.
    for (config, place, value) in [
        (&flat, "rope_parameters", flat["rope_scaling"].clone()),
        (&flat, "partial_rotary_factor", json!(1)),
        (&flat, "use_sliding_window", json!(true)),
        (&nested, "hidden_size", json!(8192.0)),
        (&nested, "layer_types", json!(["full_attention"])),
        (
            &nested,
            "vision_config/rope_parameters",
            json!({ "rope_type": "axial" }),
        ),
    ] {
        let config = with(config, place, &value);
        match place {
            // It is not that of `text_config`, which has none.
            "layer_types" => assert!(read(&config).is_ok()),
            _ => assert_eq!(told(&config), [""; 0], "{place}"),
        }
    }
}

#[test]
fn settings_count_as_in_transformers() {
    let nested = whole("qwen2_5_vl", true, text(), vision("qwen2_5_vl"));
    for place in ["tie_word_embeddings", "text_config/tie_word_embeddings"] {
        let config = with(&nested, place, &json!(true));
        assert!(read(&config).unwrap().text.tie_word_embeddings, "{place}");
    }
    let vision = |field: &str, value: Value| {
        let config = with(&nested, &format!("vision_config/{field}"), &value);
        read(&config).map(|config| config.vision.rope_theta)
    };
    assert_eq!(vision("rope_theta", Value::Null).unwrap(), 1e4);
    let parameters = json!({ "rope_type": "default", "rope_theta": 5e4 });
    assert_eq!(vision("rope_parameters", parameters).unwrap(), 5e4);
    let linear = json!({ "rope_type": "linear", "factor": 2.0 });
    let message = vision("rope_parameters", linear).unwrap_err();
    assert!(
        message.contains("`vision_config.rope_parameters.rope_type`"),
        "{message}"
    );
}

#[test]
fn what_makes_another_model_is_refused_by_name() {
    let flat = whole("qwen2_vl", false, text(), vision("qwen2_vl"));
    let nested = whole("qwen2_5_vl", true, text(), vision("qwen2_5_vl"));
    let by_layer = json!({ "full_attention": { "rope_theta": 1e6 } });
    for (config, place, value, field) in [
        (
            &flat,
            "quantization_config",
            json!({ "bits": 4 }),
            "quantization_config",
        ),
        (
            &nested,
            "text_config/quantization_config",
            json!({ "bits": 4 }),
            "text_config.quantization_config",
        ),
        (
            &flat,
            "per_layer_config",
            json!({ "0": {} }),
            "per_layer_config",
        ),
        (
            &flat,
            "rope_scaling",
            by_layer,
            "rope_scaling.full_attention",
        ),
        (&flat, "rope_scaling", json!(3), "rope_scaling"),
        (&flat, "rope_theta", json!(0), "rope_theta"),
        (&flat, "rope_theta", json!("x"), "rope_theta"),
        (
            &flat,
            "layer_types",
            json!(["full_attention"]),
            "layer_types",
        ),
        (&flat, "eos_token_id", json!("x"), "eos_token_id"),
        (
            &nested,
            "text_config/eos_token_id",
            json!([152_064]),
            "text_config.eos_token_id",
        ),
    ] {
        let message = read(&with(config, place, &value)).unwrap_err();
        let expected = format!("config.json: field `{field}`: ");
        assert!(
            message.contains(&expected) && !message.contains("untagged"),
            "{message}"
        );
    }
    let sliding = with(&flat, "use_sliding_window", &json!(true));
    let sliding = with(&sliding, "max_window_layers", &json!(28));
    let message = read(&sliding).unwrap_err();
    assert!(
        message.contains("`use_sliding_window`: is true"),
        "{message}"
    );
    let none = with(&sliding, "sliding_window", &Value::Null);
    assert!(read(&none).is_ok());
}

#[test]
fn ends_of_generation_config_are_blamed_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let config = whole("qwen2_vl", false, text(), vision("qwen2_vl"));
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    for value in ["[152064]", "[]", "\"x\""] {
        let text = format!("{{\"eos_token_id\": {value}}}");
        fs::write(dir.path().join("generation_config.json"), text).unwrap();
        let message = QwenVlConfig::from_dir(dir.path()).unwrap_err().to_string();
        let expected = "generation_config.json: field `eos_token_id`: ";
        assert!(
            message.contains(expected) && !message.contains("untagged"),
            "{message}"
        );
    }
}

#[test]
fn a_table_of_positions_that_is_no_square_is_read_up_to_the_largest_one() {
    let path = part("models/tiny-qwen3-vl/config.json");
    let config: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    for (places, side) in [(64, 8), (70, 8), (80, 8), (81, 9)] {
        let place = "vision_config/num_position_embeddings";
        let vision = read(&with(&config, place, &json!(places))).unwrap().vision;
        let found = (vision.position_embeddings, vision.position_side());
        assert_eq!(found, (Some(places), side));
    }
}
