//! Adapters as PEFT saved them give the logits that PEFT computes, as they are, merged, and saved
//! again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use safetensors::SafeTensors;
use visrl_testing::{part, warnings_of};
use visrl_vlm::{
    DecoderInput, Error, LoraConfig, Output, Pretrained, ProcessedImage, QwenVl, Segment,
    VisionLanguageModel, attach_lora, load_lora, merge_lora, save_lora,
};

/// The logits of the last positions of a prompt with an image, as `make_adapters.py` asks it.
fn logits(model: &QwenVl, last: usize) -> Vec<f32> {
    let vision = &model.config().vision;
    let merge = vision.merge_size;
    let grid = [1, 4 * merge, 5 * merge];
    let count = grid.iter().product::<usize>() * vision.patch_dim();
    let pixel = |i: usize| ((i * 37 % 101) as f32 - 50.0) / 50.0;
    let images = [Arc::new(ProcessedImage::new(
        (0..count).map(pixel).collect(),
        grid,
    ))];
    let image = model.info().image_token_id;
    let mut ids = vec![1, 2];
    ids.extend(std::iter::repeat_n(image, model.image_tokens(grid)));
    ids.extend([3, 4, 5]);
    let positions = model.positions(&ids, &[grid]).unwrap();
    let features = model.encode_images(&images).unwrap();
    let batch = DecoderInput {
        ids: &ids,
        positions: &positions.ids,
        image_features: Some(&features),
    };
    let mut segments = [Segment::prompts(1, ids.len())];
    let hidden = model.forward(batch, &mut segments, Output::Hidden).unwrap();
    let logits = hidden.unwrap().matmul(model.head());
    let [tokens, width] = logits.dims();
    let logits: Vec<f32> = logits.try_into_vec_as().unwrap();
    logits[(tokens - last) * width..].to_vec()
}

/// The tensors of a file.
fn tensors(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| {
        let (values, _) = data.as_chunks();
        values
            .iter()
            .map(|bytes| f32::from_le_bytes(*bytes))
            .collect()
    };
    file.iter()
        .map(|(name, view)| {
            (
                name.to_owned(),
                (view.shape().to_vec(), values(view.data())),
            )
        })
        .collect()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let differences = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    differences.fold(0.0, f32::max)
}

fn base(name: &str) -> QwenVl {
    QwenVl::from_dir(part(&format!("models/{name}")), &Device::flex()).unwrap()
}

#[test]
fn logits_are_those_of_peft() {
    let folder = part("adapters");
    let bases = fs::read_to_string(folder.join("base.json")).unwrap();
    let bases: BTreeMap<String, String> = serde_json::from_str(&bases).unwrap();
    assert!(bases.len() >= 11);
    let again = tempfile::tempdir().unwrap();
    for (name, model) in &bases {
        let dir = folder.join(name);
        let golden = &tensors(&dir.join("logits.safetensors"))["logits"];
        let last = golden.0[0];
        let base = base(model);
        assert!(worst(&logits(&base, last), &golden.1) > 0.01, "{name}");
        let (loaded, told) = warnings_of(|| load_lora(base.clone(), &dir));
        assert_eq!(told, [""; 0], "{name}");
        let (adapted, config) = loaded.unwrap();
        let found = worst(&logits(&adapted, last), &golden.1);
        assert!(found < 1e-4, "{name}: {found}");
        let merged = merge_lora(adapted.clone());
        let found = worst(&logits(&merged, last), &golden.1);
        assert!(found < 1e-4, "{name}, merged: {found}");
        // What is written has the tensors of what was read, and means the same.
        let written = again.path().join(name);
        save_lora(&adapted, &config, "base", &written).unwrap();
        let file = "adapter_model.safetensors";
        assert_eq!(
            tensors(&written.join(file)),
            tensors(&dir.join(file)),
            "{name}"
        );
        let (back, read) = load_lora(base, &written).unwrap();
        assert_eq!(read, config, "{name}");
        assert_eq!(logits(&back, last), logits(&adapted, last), "{name}");
    }
}

#[test]
fn a_head_of_its_own_can_be_saved_whole() {
    let plain = LoraConfig {
        r: 2,
        ..LoraConfig::default()
    };
    let rng = visrl_core::SeedStream::new(3, visrl_core::Domain::Sampling).rng();
    let model = attach_lora(base("tiny-untied-sharded"), &plain, rng).unwrap();
    let config = LoraConfig {
        modules_to_save: vec!["lm_head".into(), "visual.patch_embed.proj".into()],
        ..plain
    };
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().join("adapter");
    save_lora(&model, &config, "base", &dir).unwrap();
    let found = tensors(&dir.join("adapter_model.safetensors"));
    let name = "base_model.model.lm_head.weight";
    assert_eq!(found[name].0, [624, 64]);
    let patches = &found["base_model.model.model.visual.patch_embed.proj.weight"];
    assert_eq!(patches.0, [32, 3, 2, 14, 14]);
    let (back, read) = load_lora(base("tiny-untied-sharded"), &dir).unwrap();
    assert_eq!(read, config);
    assert_eq!(logits(&back, 4), logits(&model, 4));
    // Another model's weights give way to what was saved.
    let loaded = load_lora(base("tiny-tied"), &dir);
    assert!(
        loaded
            .unwrap_err()
            .to_string()
            .contains("`modules_to_save`")
    );
}

#[test]
fn a_checkpoint_carries_one_adapter() {
    let base = Pretrained::<QwenVl>::load(part("models/tiny-tied"), &Device::flex());
    let dir = |name: &str| part("adapters").join(name);
    let base = base.unwrap().with_adapter(dir("names")).unwrap();
    let adapter = base.adapter.as_ref().unwrap();
    assert_eq!(
        (adapter.config.r, adapter.dir.as_path()),
        (2, dir("names").as_path())
    );
    let error = base.with_adapter(dir("rslora")).unwrap_err();
    assert!(
        matches!(&error, Error::Adapter(message) if message.contains("rslora")),
        "{error}"
    );
}
