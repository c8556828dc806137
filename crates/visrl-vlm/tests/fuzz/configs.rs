//! `config.json`, `generation_config.json` and `preprocessor_config.json`.

use std::fs;

use burn::tensor::Device;
use serde_json::{Value, json};
use visrl_core::ImageSource;
use visrl_image::{ImagePipeline, Limits, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};
use visrl_vlm::{Error, QwenVl, QwenVlConfig, WeightSource};

use crate::{MIB, folder, group, mutate};

fn flat() -> Value {
    json!({
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "hidden_size": 48,
        "hidden_act": "silu",
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 80,
        "vocab_size": 320,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1e6,
        "rope_scaling": { "type": "mrope", "mrope_section": [2, 3, 3] },
        "tie_word_embeddings": false,
        "use_sliding_window": false,
        "image_token_id": 310,
        "video_token_id": 311,
        "eos_token_id": [300, 301],
        "torch_dtype": "bfloat16",
        "vision_config": {
            "depth": 2, "embed_dim": 16, "num_heads": 2, "hidden_size": 48, "mlp_ratio": 4,
            "hidden_act": "quick_gelu", "in_chans": 3, "patch_size": 14, "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    })
}

/// The layout of transformers 5.
fn nested() -> Value {
    let flat = flat();
    let vision = flat["vision_config"].clone();
    let mut text = flat;
    let fields = text.as_object_mut().unwrap();
    fields.shift_remove("vision_config");
    fields.shift_remove("rope_scaling");
    fields["model_type"] = "qwen2_vl_text".into();
    let rope = json!({ "rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 1e6 });
    fields.insert("rope_parameters".into(), rope);
    json!({
        "model_type": "qwen2_vl", "image_token_id": 310, "video_token_id": 311,
        "tie_word_embeddings": true, "text_config": text, "vision_config": vision,
    })
}

/// Weights of any shape up to a size, to see what a strange shape does.
struct UpTo {
    values: usize,
}

impl WeightSource for UpTo {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let missing = || Error::MissingTensor {
            path: "".into(),
            tensor: name.to_owned(),
        };
        let count = shape
            .iter()
            .try_fold(1usize, |n, &side| n.checked_mul(side));
        let count = count
            .filter(|&count| count <= self.values)
            .ok_or_else(missing)?;
        self.values -= count;
        Ok(vec![0.5; count])
    }
}

#[test]
fn model_configs() {
    let dir = folder();
    let config = dir.path().join("config.json");
    let generation = dir.path().join("generation_config.json");
    let shapes = [flat(), nested()];
    for shape in &shapes {
        fs::write(&config, shape.to_string()).unwrap();
        assert!(QwenVlConfig::from_dir(dir.path()).is_ok());
    }
    group("config.json", 16 * MIB, |rng| {
        let shape = rng.pick(&shapes);
        fs::write(&config, mutate::json_text(rng, shape)).unwrap();
        let _ = fs::remove_file(&generation);
        if rng.one_in(4) {
            let settings = json!({ "eos_token_id": [300, 301], "top_k": 1, "do_sample": true });
            fs::write(&generation, mutate::json_text(rng, &settings)).unwrap();
        }
        let Ok(config) = QwenVlConfig::from_dir(dir.path()) else {
            return false;
        };
        let text = &config.text;
        assert!(text.hidden_size % text.heads == 0 && text.heads % text.kv_heads == 0);
        assert_eq!(text.mrope_section.iter().sum::<usize>(), text.head_dim / 2);
        assert!(
            config
                .eos_token_ids
                .iter()
                .all(|&id| (id as usize) < text.vocab_size)
        );
        assert!(text.rope_theta > 0.0 && text.rms_norm_eps > 0.0);
        // An odd shape must not cost more than the weights that are there.
        let _ = QwenVl::new(config, &mut UpTo { values: MIB }, &Device::flex());
        true
    });
}

#[test]
fn processor_configs() {
    let dir = folder();
    let small = Qwen2VlProcessorConfig {
        max_pixels: 56 * 84,
        pipeline: ImagePipeline::Paper { size: 32 },
        limits: Limits {
            max_pixels: 1 << 18,
            max_bytes: 1 << 18,
        },
        ..Qwen2VlProcessorConfig::default()
    };
    small.save(dir.path()).unwrap();
    let own = dir.path().join("preprocessor_config.json");
    let full: Value = serde_json::from_slice(&fs::read(&own).unwrap()).unwrap();
    let nested = dir.path().join("processor_config.json");
    let image = ImageSource::Gray {
        name: "grey".into(),
        width: 30,
        height: 20,
        pixels: vec![77; 600].into(),
    };
    // The limits of a file are its owner's: a case with other limits is not run to the end.
    group("preprocessor_config.json", 64 * MIB, |rng| {
        let _ = fs::remove_file(&nested);
        if rng.one_in(3) {
            let both = json!({ "image_processor": full, "processor_class": "Qwen2VLProcessor" });
            fs::write(&nested, mutate::json_text(rng, &both)).unwrap();
        } else {
            fs::write(&own, mutate::json_text(rng, &full)).unwrap();
        }
        let Ok(config) = Qwen2VlProcessorConfig::from_dir(dir.path()) else {
            return false;
        };
        assert!(config.min_pixels <= config.max_pixels && config.patch_size > 0);
        let limits = config.limits;
        let values = config.patch_size * config.patch_size * config.temporal_patch_size;
        let processor = Qwen2VlProcessor::new(config).unwrap();
        if limits.max_pixels <= small.limits.max_pixels
            && values <= 4 * 392
            && let Ok(seen) = processor.process(&image)
        {
            let patches: usize = seen.grid.iter().product();
            assert_eq!(seen.pixel_values.len(), patches * seen.patch_dim);
            assert!(seen.pixel_values.iter().all(|value| value.is_finite()));
        }
        true
    });
}
