//! Saved checkpoints: what comes back, in which files, and what is left when saving fails or is
//! interrupted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, bf16, f16};
use safetensors::{Dtype, SafeTensors};
use visrl_core::files::FileError;
use visrl_core::{Domain, SeedStream};
use visrl_image::Qwen2VlProcessorConfig;
use visrl_vlm::chat::QWEN2_VL_CHAT_TEMPLATE;
use visrl_vlm::tokenizer::train_bpe;
use visrl_vlm::{
    ChatTemplate, Error, ParamDtype, Pretrained, QwenVl, RandomWeights, SafetensorsDir, SaveDtype,
    SaveOptions, Tokenizer, WeightSource, read_json, visit_parameters,
};

/// A checkpoint folder without weights.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let text = train_bpe(["a small model of a small picture"], 300).unwrap();
    let tokenizer = Tokenizer::from_json(&text).unwrap();
    let id = |token: &str| tokenizer.token_id(token).unwrap();
    let config = serde_json::json!({
        "model_type": "qwen2_vl",
        "hidden_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "num_key_value_heads": 1,
        "intermediate_size": 80,
        "vocab_size": 320,
        "rope_scaling": { "type": "mrope", "mrope_section": [2, 3, 3] },
        "tie_word_embeddings": false,
        "image_token_id": id("<|image_pad|>"),
        "video_token_id": id("<|video_pad|>"),
        "eos_token_id": id("<|im_end|>"),
        "torch_dtype": "bfloat16",
        "vision_config": { "depth": 1, "embed_dim": 16, "num_heads": 2, "hidden_size": 48 },
    });
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    tokenizer.save(dir.path()).unwrap();
    let template = ChatTemplate::new(QWEN2_VL_CHAT_TEMPLATE).unwrap();
    template.save(dir.path()).unwrap();
    Qwen2VlProcessorConfig::default().save(dir.path()).unwrap();
    dir
}

fn random(dir: &Path, seed: u64) -> Pretrained<QwenVl> {
    let rng = SeedStream::new(seed, Domain::Sampling).rng();
    let mut source = RandomWeights::new(rng, 0.3);
    Pretrained::with_weights(dir, &mut source, &Device::flex()).unwrap()
}

/// Every parameter's bits by name, as stored in memory.
fn bits(model: &QwenVl) -> BTreeMap<String, Vec<u32>> {
    let mut all = BTreeMap::new();
    visit_parameters(model, |parameter| {
        let values: Vec<f32> = parameter.values.try_into_vec_as().unwrap();
        all.insert(
            parameter.name,
            values.into_iter().map(f32::to_bits).collect(),
        );
    });
    all
}

fn names(dir: &Path, ending: &str) -> Vec<String> {
    let names = fs::read_dir(dir).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

fn load(dir: &Path) -> Result<Pretrained<QwenVl>, Error> {
    Pretrained::load(dir, &Device::flex())
}

#[test]
fn one_file_and_shards_come_back_bit_for_bit() {
    let source = folder();
    let base = random(source.path(), 1);
    let expected = bits(&base.model);
    let root = tempfile::tempdir().unwrap();
    let one = root.path().join("one");
    base.files.save(&base.model, &one, SaveDtype::F32).unwrap();
    assert_eq!(names(&one, ".safetensors"), ["model.safetensors"]);
    assert_eq!(bits(&load(&one).unwrap().model), expected);

    let many = root.path().join("many");
    let options = SaveOptions {
        max_shard_bytes: 50_000,
        ..SaveOptions::default()
    };
    base.files.save(&base.model, &many, options).unwrap();
    let files = names(&many, ".safetensors");
    assert!(files.len() > 3, "{files:?}");
    for (index, file) in files.iter().enumerate() {
        let expected = format!("model-{:05}-of-{:05}.safetensors", index + 1, files.len());
        assert_eq!(*file, expected);
        let bytes = fs::read(many.join(file)).unwrap();
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        let tensors = SafeTensors::deserialize(&bytes).unwrap().len();
        let data = bytes.len() as u64 - header - 8;
        assert!(
            data <= options.max_shard_bytes || tensors == 1,
            "{file}: {data} bytes"
        );
    }
    assert_eq!(bits(&load(&many).unwrap().model), expected);

    // The index names every tensor and its file, and counts the bytes.
    let index = read_json(&many.join("model.safetensors.index.json")).unwrap();
    let map = index["weight_map"].as_object().unwrap();
    let total: usize = expected.values().map(|values| 4 * values.len()).sum();
    assert_eq!(index["metadata"]["total_size"].as_u64(), Some(total as u64));
    assert_eq!(map.len(), expected.len());
    for (name, file) in map {
        let bytes = fs::read(many.join(file.as_str().unwrap())).unwrap();
        assert!(
            SafeTensors::deserialize(&bytes)
                .unwrap()
                .tensor(name)
                .is_ok(),
            "{name}"
        );
    }

    // Written over by a checkpoint in one file, nothing of the shards is left.
    base.files.save(&base.model, &many, SaveDtype::F32).unwrap();
    assert_eq!(names(&many, ".safetensors"), ["model.safetensors"]);
    assert!(names(&many, ".index.json").is_empty());
    let file = |dir: &Path| fs::read(dir.join("model.safetensors")).unwrap();
    assert!(file(&one) == file(&many));
}

#[test]
fn files_are_in_hugging_faces_layout() {
    let source = folder();
    let base = random(source.path(), 2);
    let out = source.path().join("out");
    base.files.save(&base.model, &out, SaveDtype::F32).unwrap();
    let bytes = fs::read(out.join("model.safetensors")).unwrap();
    let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    assert_eq!(header % 8, 0);
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");
    let shape = |name: &str| metadata.info(name).unwrap().shape.clone();
    assert_eq!(shape("visual.patch_embed.proj.weight"), [16, 3, 2, 14, 14]);
    assert_eq!(shape("model.layers.0.mlp.up_proj.weight"), [80, 48]);
    assert_eq!(shape("model.embed_tokens.weight"), [320, 48]);
    assert_eq!(shape("lm_head.weight"), [320, 48]);
    for (file, permissions) in [("model.safetensors", "config.json")]
        .map(|(a, b)| (a, fs::metadata(out.join(b)).unwrap().permissions()))
    {
        assert_eq!(
            fs::metadata(out.join(file)).unwrap().permissions(),
            permissions
        );
    }
}

#[test]
fn formats_round_once_and_the_config_tells_them() {
    let source = folder();
    let base = random(source.path(), 3);
    let expected = bits(&base.model);
    for (dtype, stored, name) in [
        (SaveDtype::F32, Dtype::F32, "float32"),
        (SaveDtype::Bf16, Dtype::BF16, "bfloat16"),
        (SaveDtype::F16, Dtype::F16, "float16"),
    ] {
        let round = |x: f32| match dtype {
            SaveDtype::F32 => x,
            SaveDtype::Bf16 => bf16::from_f32(x).to_f32(),
            SaveDtype::F16 => f16::from_f32(x).to_f32(),
        };
        let out = source.path().join(name);
        base.files.save(&base.model, &out, dtype).unwrap();
        let config = read_json(&out.join("config.json")).unwrap();
        assert_eq!(config["torch_dtype"], name);
        let bytes = fs::read(out.join("model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        assert!(
            file.tensors()
                .iter()
                .all(|(_, tensor)| tensor.dtype() == stored)
        );
        let loaded = load(&out).unwrap();
        for (name, values) in bits(&loaded.model) {
            let rounded = expected[&name]
                .iter()
                .map(|&x| round(f32::from_bits(x)).to_bits());
            assert!(rounded.eq(values), "{name}");
        }
        // Saved again in the same format, the bytes are the same.
        let again = source.path().join("again");
        loaded.files.save(&loaded.model, &again, dtype).unwrap();
        assert!(fs::read(again.join("model.safetensors")).unwrap() == bytes);
    }
}

#[test]
fn tensors_are_read_in_any_format_and_turned() {
    let source = folder();
    let base = random(source.path(), 4);
    let out = source.path().join("out");
    base.files.save(&base.model, &out, SaveDtype::Bf16).unwrap();
    let mut weights = SafetensorsDir::open(&out).unwrap();
    let (name, shape) = ("visual.patch_embed.proj.weight", [16, 3, 2, 14, 14]);
    let plain = weights.read(name, &shape).unwrap();
    let turned = weights.read_transposed(name, &shape).unwrap();
    assert!((0..plain.len()).all(|i| turned[i] == plain[i % 16 * 1176 + i / 16]));
    for dtype in [ParamDtype::F32, ParamDtype::F64, ParamDtype::Bf16] {
        let data = weights.read_as(name, &shape, dtype).unwrap();
        assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), plain);
        let data = weights.read_transposed_as(name, &shape, dtype).unwrap();
        assert_eq!(data.iter::<f32>().collect::<Vec<_>>(), turned);
        assert_eq!(data.dtype(), dtype.into());
    }
    let message = weights
        .read_transposed(name, &[16, 1176])
        .unwrap_err()
        .to_string();
    assert!(message.contains("[16, 3, 2, 14, 14]"), "{message}");
}

#[test]
fn folders_that_cannot_be_written_are_named() {
    let source = folder();
    let base = random(source.path(), 5);
    let file = source.path().join("file");
    fs::write(&file, "").unwrap();
    let error = base
        .files
        .save(&base.model, file.join("out"), SaveDtype::F32)
        .unwrap_err();
    assert!(
        matches!(error, Error::File(FileError::Io { .. })),
        "{error:?}"
    );
    assert!(
        error.to_string().contains(file.to_str().unwrap()),
        "{error}"
    );
}

const FULL: &str = "VISRL_TEST_SAVE_FULL";

/// Runs in a process of its own whose files may not grow beyond 100 kB: what a full disk does.
#[test]
fn child_that_saves_on_a_full_disk() {
    let Some(dir) = std::env::var_os(FULL).map(PathBuf::from) else {
        return;
    };
    let base = load(&dir).unwrap();
    let error = base
        .files
        .save(&base.model, &dir, SaveDtype::F32)
        .unwrap_err();
    assert!(
        matches!(error, Error::File(FileError::Io { .. })),
        "{error:?}"
    );
    assert!(error.to_string().contains("model.safetensors"), "{error}");
}

#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    let source = folder();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("checkpoint");
    let base = random(source.path(), 6);
    base.files.save(&base.model, &dir, SaveDtype::Bf16).unwrap();
    let before = fs::read(dir.join("model.safetensors")).unwrap();
    let output = std::process::Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 200; exec \"$0\" --exact \"$1\"",
        ])
        .arg(std::env::current_exe().unwrap())
        .arg("child_that_saves_on_a_full_disk")
        .env(FULL, &dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}"
    );
    assert!(fs::read(dir.join("model.safetensors")).unwrap() == before);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
}

const KILLED: &str = "VISRL_TEST_SAVE_KILLED";

/// Runs in a process of its own, which is killed: saves one checkpoint over the other for ever.
#[test]
fn child_that_saves_until_it_is_killed() {
    let Some(dir) = std::env::var_os(KILLED).map(PathBuf::from) else {
        return;
    };
    let base = load(&dir).unwrap();
    for number in 0.. {
        let dtype = [SaveDtype::Bf16, SaveDtype::F32][number % 2];
        let max_shard_bytes = [60_000, 5_000_000][number % 2];
        let options = SaveOptions {
            dtype,
            max_shard_bytes,
        };
        base.files.save(&base.model, &dir, options).unwrap();
    }
}

/// The exchange of two folders in one step is Linux's.
#[cfg(target_os = "linux")]
#[test]
fn a_killed_process_leaves_a_whole_checkpoint() {
    let source = folder();
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("checkpoint");
    let base = random(source.path(), 7);
    base.files.save(&base.model, &dir, SaveDtype::Bf16).unwrap();
    let expected = bits(&load(&dir).unwrap().model);
    for round in 0..12u64 {
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_saves_until_it_is_killed"])
            .env(KILLED, &dir)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60 + 17 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            bits(&load(&dir).unwrap().model) == expected,
            "round {round}"
        );
    }
}
