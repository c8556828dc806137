//! `adapter_config.json`.

use std::fs;

use burn::tensor::Device;
use serde_json::{Value, json};
use visrl_core::{Domain, SeedStream};
use visrl_testing::fixtures;
use visrl_vlm::{LoraConfig, QwenVl, VisionLanguageModel, attach_lora, load_lora, save_lora};

use crate::mutate::{self, Rng};
use crate::{MIB, folder, group};

/// Options with a meaning of their own, right and wrong.
fn bend(rng: &mut Rng, options: &mut Value) {
    const TARGETS: [&str; 10] = [
        r"^(model\.language_model(?=\.).*\.(q_proj|o_proj))$",
        "^(?!.*visual).*_proj",
        r"(?:(?=m)\w+\.?)+!",
        "((((((((((a{99}){99}){99}){99}){99})",
        r"(?P<a>.)(?P=a).*",
        "[",
        "(?x)a",
        r".*\.(\w+)_(proj)\Z",
        "all-linear",
        r"(?<=(?=(?<=a)))",
    ];
    match rng.below(5) {
        0 => options["target_modules"] = TARGETS[rng.below(TARGETS.len())].into(),
        1 => options["exclude_modules"] = TARGETS[rng.below(TARGETS.len())].into(),
        2 => {
            let key = TARGETS[rng.below(TARGETS.len())];
            options["rank_pattern"] = json!({ key: rng.below(4), "q_proj": 2 });
        }
        3 => {
            let mut pattern = TARGETS[rng.below(3)].as_bytes().to_vec();
            mutate::bytes(rng, &mut pattern);
            options["target_modules"] = String::from_utf8_lossy(&pattern).into_owned().into();
        }
        _ => {
            options["layers_to_transform"] = json!([rng.below(3)]);
            options["layers_pattern"] = json!(["layers", "(", ".*"][rng.below(3)]);
        }
    }
}

#[test]
fn adapter_configs() {
    let base = QwenVl::from_dir(fixtures().join("models/tiny-tied"), &Device::flex()).unwrap();
    let config = LoraConfig {
        r: 2,
        ..LoraConfig::default()
    };
    let rng = SeedStream::new(3, Domain::Sampling).rng();
    let adapted = attach_lora(base.clone(), &config, rng).unwrap();
    let dir = folder();
    let dir = dir.path().join("adapter");
    save_lora(&adapted, &config, "base", &dir).unwrap();
    let path = dir.join("adapter_config.json");
    let good: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    group("adapter_config.json", 64 * MIB, |rng| {
        let mut options = good.clone();
        if rng.one_in(2) {
            bend(rng, &mut options);
            fs::write(&path, options.to_string()).unwrap();
        } else {
            fs::write(&path, mutate::json_text(rng, &options)).unwrap();
        }
        match load_lora(base.clone(), &dir) {
            Ok((mut model, config)) => {
                let mut adapters = 0;
                model.each_linear(&mut |_, dense| {
                    adapters += usize::from(dense.adapter().is_some())
                });
                assert!(adapters > 0 && config.r > 0);
                true
            }
            Err(error) => {
                assert!(error.to_string().contains("adapter_"), "{error}");
                false
            }
        }
    });
}
