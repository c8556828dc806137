//! Adapters as PEFT saves them: each option is computed, changes nothing, or is refused by name.

use std::fs;
use std::path::Path;

use burn::tensor::{Device, Distribution, Tensor};
use serde_json::{Value, json};
use tempfile::TempDir;
use visrl_core::{Domain, SeedStream};
use visrl_testing::{fixtures, warnings_of};
use visrl_vlm::{
    Adapter, LoraConfig, QwenVl, TargetModules, VisionLanguageModel, attach_lora, load_lora,
    save_lora,
};

fn base() -> QwenVl {
    QwenVl::from_dir(fixtures().join("models/tiny-tied"), &Device::flex()).unwrap()
}

fn names(names: &[&str]) -> TargetModules {
    TargetModules::Names(names.iter().map(|name| name.to_string()).collect())
}

/// A saved adapter whose factors are not 0.
fn saved(config: &LoraConfig) -> TempDir {
    let rng = SeedStream::new(3, Domain::Sampling).rng();
    let mut model = attach_lora(base(), config, rng).unwrap();
    model.each_linear(&mut |_, dense| {
        if let Some(adapter) = dense.adapter() {
            let noise = Distribution::Normal(0.0, 0.05);
            let b = Tensor::random(adapter.b.dims(), noise, &adapter.b.device());
            dense.set_adapter(Some(Adapter { b, ..adapter }));
        }
    });
    let dir = tempfile::tempdir().unwrap();
    save_lora(&model, config, "base", dir.path().join("adapter")).unwrap();
    dir
}

/// The same adapter with other options.
fn with(dir: &TempDir, changes: &Value) {
    let path = dir.path().join("adapter/adapter_config.json");
    let mut options: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let changes = changes.as_object().unwrap().clone();
    options.as_object_mut().unwrap().extend(changes);
    fs::write(path, options.to_string()).unwrap();
}

/// The layers with an adapter, with rank, scale and the sum of the product.
fn adapters(model: &mut QwenVl) -> Vec<(String, usize, f64, f32)> {
    let mut found = Vec::new();
    model.each_linear(&mut |name, dense| {
        if let Some(Adapter { a, b, scale, .. }) = dense.adapter() {
            let rank = a.dims()[1];
            let sum: f32 = a.matmul(b).abs().sum().into_scalar();
            found.push((name.to_owned(), rank, scale, sum));
        }
    });
    found
}

fn load(dir: &TempDir) -> Result<Vec<(String, usize, f64, f32)>, String> {
    let loaded = load_lora(base(), dir.path().join("adapter"));
    let (mut model, _) = loaded.map_err(|error| error.to_string())?;
    Ok(adapters(&mut model))
}

/// What loading says, and no warning.
fn quiet(dir: &TempDir) -> Vec<(String, usize, f64, f32)> {
    let (loaded, told) = warnings_of(|| load(dir));
    assert!(told.is_empty(), "{told:?}");
    loaded.unwrap()
}

#[test]
fn every_form_of_targets_gives_the_same_adapter() {
    let dir = saved(&LoraConfig {
        r: 2,
        target_modules: names(&["q_proj", "o_proj", "up_proj"]),
        ..LoraConfig::default()
    });
    let expected = quiet(&dir);
    assert_eq!(expected.len(), 6);
    for targets in [
        json!(["self_attn.q_proj", "o_proj", "mlp.up_proj"]),
        json!(r"^(model\.language_model(?=\.).*\.(q_proj|o_proj|up_proj))$"),
        json!("^(?!.*(?:visual|embed)).*(?:q_proj|o_proj|up_proj).*"),
        json!(r".*\.(?P<part>[qo]|up)_proj\Z"),
        json!(r"model\.layers\.\d\.(?:mlp\.up|self_attn\.[qo])_proj"),
    ] {
        with(&dir, &json!({ "target_modules": targets }));
        assert_eq!(quiet(&dir), expected, "{targets}");
    }
    // A name without a layer is told; PEFT needs no more than one that has any.
    with(
        &dir,
        &json!({ "target_modules": ["q_proj", "o_proj", "up_proj", "c_attn"] }),
    );
    let (loaded, told) = warnings_of(|| load(&dir));
    assert_eq!(loaded.unwrap(), expected);
    assert!(
        told.len() == 1
            && told[0].contains("adapter_config.json: field `target_modules`: `c_attn`"),
        "{told:?}"
    );
}

#[test]
fn an_expression_means_the_modules_that_it_was_trained_with() {
    // In transformers' modules of today, these are the layers of the vision tower alone.
    let dir = saved(&LoraConfig {
        r: 2,
        target_modules: names(&["attn.qkv"]),
        ..LoraConfig::default()
    });
    let expected = quiet(&dir);
    with(
        &dir,
        &json!({ "target_modules": r"^(?!.*language_model).*(?:qkv|q_proj)" }),
    );
    assert_eq!(quiet(&dir), expected);
    // By the older names, which the tensors have, too.
    let path = dir.path().join("adapter/adapter_model.safetensors");
    rename(
        &path,
        "base_model.model.model.visual.",
        "base_model.model.visual.",
    );
    with(
        &dir,
        &json!({ "target_modules": r"^visual(?!\.merger).*qkv" }),
    );
    assert_eq!(quiet(&dir), expected);
    // Saved again, the names are those of today.
    let (model, config) = load_lora(base(), dir.path().join("adapter")).unwrap();
    save_lora(&model, &config, "base", dir.path().join("adapter")).unwrap();
    let (_, config) = load_lora(base(), dir.path().join("adapter")).unwrap();
    let layer = |block: usize| format!("model.visual.blocks.{block}.attn.qkv");
    let today = [layer(0), layer(1)];
    assert_eq!(config.target_modules, TargetModules::Names(today.to_vec()));
    assert_eq!(quiet(&dir), expected);
}

#[test]
fn ranks_and_alphas_by_older_names_are_written_by_today_s() {
    let dir = saved(&LoraConfig {
        r: 2,
        lora_alpha: 8.0,
        target_modules: names(&["q_proj"]),
        rank_pattern: vec![(r"model\.layers\.0\.self_attn\.q_proj".into(), 3)],
        alpha_pattern: vec![(r"model\.layers\.1\.self_attn\.q_proj".into(), 5.0)],
        ..LoraConfig::default()
    });
    let name = |layer: usize| format!("model.language_model.layers.{layer}.self_attn.q_proj");
    let (_, config) = load_lora(base(), dir.path().join("adapter")).unwrap();
    assert_eq!(config.rank_pattern, [(name(0), 3)]);
    assert_eq!(config.alpha_pattern, [(name(1), 5.0)]);
    let found = quiet(&dir);
    let sizes: Vec<_> = found
        .iter()
        .map(|(_, rank, scale, _)| (*rank, *scale))
        .collect();
    assert_eq!(sizes, [(3, 8.0 / 3.0), (2, 2.5)]);
}

/// Gives tensors of a file other names.
fn rename(path: &Path, from: &str, to: &str) {
    let bytes = fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let views = file
        .iter()
        .map(|(name, view)| (name.replace(from, to), view));
    let renamed = safetensors::serialize(views, None).unwrap();
    fs::write(path, renamed).unwrap();
}

#[test]
fn options_that_choose_layers_and_ranks_are_computed() {
    let config = LoraConfig {
        r: 2,
        lora_alpha: 8.0,
        target_modules: names(&["q_proj", "up_proj", "qkv"]),
        exclude_modules: Some(names(&["1.mlp.up_proj"])),
        rank_pattern: vec![
            (r"layers\.0\.self_attn\.q_proj".into(), 4),
            ("q_proj".into(), 3),
        ],
        alpha_pattern: vec![("qkv".into(), 6.0)],
        ..LoraConfig::default()
    };
    let dir = saved(&config);
    let found = quiet(&dir);
    let sizes: Vec<_> = found
        .iter()
        .map(|(name, rank, scale, _)| (name.as_str(), *rank, *scale))
        .collect();
    assert_eq!(
        sizes,
        [
            ("visual.blocks.0.attn.qkv", 2, 3.0),
            ("visual.blocks.1.attn.qkv", 2, 3.0),
            ("model.layers.0.self_attn.q_proj", 4, 2.0),
            ("model.layers.0.mlp.up_proj", 2, 4.0),
            ("model.layers.1.self_attn.q_proj", 3, 8.0 / 3.0),
        ]
    );
    let (_, read) = load_lora(base(), dir.path().join("adapter")).unwrap();
    assert_eq!(read, config);
    with(&dir, &json!({ "exclude_modules": r".*\.1\.mlp\.up_proj" }));
    assert_eq!(quiet(&dir), found);

    let some = LoraConfig {
        r: 2,
        use_rslora: true,
        target_modules: names(&["q_proj", "qkv"]),
        layers_to_transform: vec![1],
        ..LoraConfig::default()
    };
    let dir = saved(&some);
    let found = quiet(&dir);
    let layers: Vec<_> = found.iter().map(|found| found.0.as_str()).collect();
    assert_eq!(
        layers,
        [
            "visual.blocks.1.attn.qkv",
            "model.layers.1.self_attn.q_proj"
        ]
    );
    assert_eq!(found[0].2, 32.0 / 2f64.sqrt());
    with(
        &dir,
        &json!({ "layers_to_transform": 1, "layers_pattern": null }),
    );
    assert_eq!(quiet(&dir), found);
    let stack = LoraConfig {
        layers_pattern: vec!["layers".into()],
        ..some
    };
    assert_eq!(quiet(&saved(&stack)).len(), 1);
}

#[test]
fn keys_that_name_no_layer_with_an_adapter_are_told() {
    let config = LoraConfig {
        r: 2,
        target_modules: names(&["q_proj"]),
        ..LoraConfig::default()
    };
    let dir = saved(&config);
    let plain = quiet(&dir);
    for (field, key) in [
        ("rank_pattern", "no_proj"),
        ("alpha_pattern", r"layers\.9\.self_attn\.q_proj"),
        ("alpha_pattern", "k_proj"),
    ] {
        with(&dir, &json!({ "rank_pattern": {}, "alpha_pattern": {} }));
        with(&dir, &json!({ field: { key: 4 } }));
        let (found, told) = warnings_of(|| load(&dir));
        assert_eq!(found.unwrap(), plain);
        let expected = format!("adapter_config.json: field `{field}`: `{key}` is the name of no");
        assert!(told.len() == 1 && told[0].contains(&expected), "{told:?}");
    }
    for (field, value) in [("lora_alpha", json!(1e38)), ("lora_alpha", json!(0))] {
        with(&dir, &json!({ "alpha_pattern": {}, field: value }));
        let error = load(&dir).unwrap_err();
        assert!(
            error.contains("adapter_config.json: field `lora_alpha`: is"),
            "{error}"
        );
    }
}

#[test]
fn options_without_an_effect_are_no_hindrance() {
    let config = LoraConfig {
        r: 2,
        ..LoraConfig::default()
    };
    let dir = saved(&config);
    let expected = quiet(&dir);
    with(
        &dir,
        &json!({
            "auto_mapping": { "base_model_class": "Qwen2VLForConditionalGeneration" },
            "task_type": "CAUSAL_LM", "revision": "main", "peft_version": "0.18.0",
            "inference_mode": false, "lora_dropout": 0.05, "megatron_core": "megatron.core",
            "megatron_config": null, "layer_replication": null, "alora_invocation_tokens": null,
            "trainable_token_indices": null, "target_parameters": null, "lora_bias": false,
            "use_dora": false, "use_qalora": false, "qalora_group_size": 16, "use_bdlora": null,
            "arrow_config": null, "loftq_config": {}, "eva_config": null, "corda_config": null,
            "ensure_weight_tying": false, "modules_to_save": [], "layers_pattern": null,
            "layers_to_transform": null, "exclude_modules": null, "rank_pattern": {},
            "alpha_pattern": null, "something_new": null, "something_off": false,
        }),
    );
    assert_eq!(quiet(&dir), expected);
    for start in [
        json!(true),
        json!(false),
        json!(null),
        json!("gaussian"),
        json!("eva"),
        json!("orthogonal"),
    ] {
        with(&dir, &json!({ "init_lora_weights": start }));
        assert_eq!(quiet(&dir), expected, "{start}");
    }
    // PEFT's own defaults.
    let eight = saved(&LoraConfig {
        r: 8,
        lora_alpha: 8.0,
        ..config
    });
    let expected = quiet(&eight);
    with(&eight, &json!({ "r": null, "lora_alpha": null }));
    assert_eq!(quiet(&eight), expected);
    for (changes, field) in [
        (json!({ "something_new": 3 }), "`something_new`: is 3"),
        (
            json!({ "fan_in_fan_out": true }),
            "`fan_in_fan_out`: is true",
        ),
    ] {
        with(&eight, &changes);
        let (loaded, told) = warnings_of(|| load(&eight));
        assert_eq!(loaded.unwrap(), expected);
        let expected = format!("adapter_config.json: field {field}");
        assert!(told.iter().any(|text| text.contains(&expected)), "{told:?}");
    }
}

#[test]
fn options_that_change_the_meaning_are_refused_with_file_and_field() {
    let dir = saved(&LoraConfig {
        r: 2,
        ..LoraConfig::default()
    });
    let good = fs::read(dir.path().join("adapter/adapter_config.json")).unwrap();
    for (field, value) in [
        ("layer_replication", json!([[0, 2], [1, 2]])),
        ("alora_invocation_tokens", json!([601, 77])),
        ("invocation_string", json!("<call>")),
        ("init_lora_weights", json!("pissa")),
        ("init_lora_weights", json!("pissa_niter_16")),
        ("init_lora_weights", json!("olora")),
        ("init_lora_weights", json!("corda")),
        ("init_lora_weights", json!("loftq")),
        ("init_lora_weights", json!("lora_ga")),
        ("init_lora_weights", json!("mica")),
        ("init_lora_weights", json!("something new")),
        ("init_lora_weights", json!(3)),
        ("use_qalora", json!(true)),
        ("use_bdlora", json!({ "nblocks": 2 })),
        ("lora_bias", json!(true)),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["lm_head"])),
        ("modules_to_save", json!(["embed_tokens"])),
        ("modules_to_save", json!(["nothing"])),
        ("modules_to_save", json!("norm")),
        ("target_parameters", json!(["mlp.experts.down_proj"])),
        ("trainable_token_indices", json!([1, 2])),
        ("megatron_config", json!({ "a": 1 })),
        ("arrow_config", json!({ "top_k": 3 })),
        ("monteclora_config", json!({ "n": 3 })),
        ("peft_type", json!("LOHA")),
        ("target_modules", json!(".*(q_proj|o_proj")),
        ("target_modules", json!("(?:(?=m).+)+!")),
        ("target_modules", json!("nothing")),
        ("target_modules", json!(["nothing"])),
        ("target_modules", json!([])),
        ("target_modules", json!({ "a": 1 })),
        ("target_modules", json!(null)),
        ("exclude_modules", json!("(")),
        ("exclude_modules", json!(".*")),
        ("rank_pattern", json!({ "(": 2 })),
        ("rank_pattern", json!({ "q_proj": 0 })),
        ("rank_pattern", json!({ "q_proj": 3 })),
        ("rank_pattern", json!({ "q_proj": "x" })),
        ("alpha_pattern", json!({ "q_proj": 0 })),
        ("layers_to_transform", json!(["x"])),
        ("layers_pattern", json!([3])),
        ("layers_pattern", json!("layers")),
        ("layers_pattern", json!(["layers"])),
        ("kasa_config", json!({ "a": 1 })),
        ("r", json!(3)),
        ("r", json!(0)),
        ("r", json!(-1)),
        ("lora_alpha", json!(0)),
        ("lora_alpha", json!("x")),
        ("lora_alpha", json!(-4)),
        ("lora_dropout", json!(2)),
        ("lora_dropout", json!("x")),
    ] {
        fs::write(dir.path().join("adapter/adapter_config.json"), &good).unwrap();
        with(&dir, &json!({ field: value }));
        let message = load(&dir).expect_err(&format!("{field}: {value}"));
        let named = ["target_modules", "exclude_modules"].contains(&field);
        assert!(
            message.contains("adapter_config.json: field `")
                && (named || message.contains(&format!("`{field}`"))),
            "{field} {value}: {message}"
        );
        assert!(!message.contains("untagged"), "{message}");
    }
    // As Python writes it, and as some editors do.
    let text = String::from_utf8(good.clone()).unwrap();
    for (bad, part) in [
        (
            text.replace("\"lora_alpha\": 32.0", "\"lora_alpha\": NaN"),
            "field `lora_alpha`: is NaN",
        ),
        (format!("\u{feff}{text}"), "byte order mark"),
    ] {
        assert_ne!(bad, text);
        fs::write(dir.path().join("adapter/adapter_config.json"), bad).unwrap();
        let message = load(&dir).unwrap_err();
        assert!(
            message.contains("adapter_config.json: ") && message.contains(part),
            "{message}"
        );
    }
    fs::write(dir.path().join("adapter/adapter_config.json"), &good).unwrap();
    with(
        &dir,
        &json!({ "target_modules": "q_proj", "layers_to_transform": [1] }),
    );
    let message = load(&dir).unwrap_err();
    assert!(
        message.contains("adapter_config.json: field `"),
        "{message}"
    );
}
