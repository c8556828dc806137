//! Which files the weights are read from, and tensors that nothing uses.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use tempfile::TempDir;
use visrl_testing::{fixtures, warnings_of};
use visrl_vlm::{Pretrained, QwenVl, SaveDtype, visit_parameters};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

fn model(name: &str) -> PathBuf {
    fixtures().join("models").join(name)
}

/// A copy of a fixture that can be changed.
fn copy(name: &str) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(model(name)).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    dir
}

/// The values of all parameters.
type Values = BTreeMap<String, Vec<f32>>;

/// The values of all parameters, or what is wrong, and the warnings.
fn load(dir: &Path) -> (Result<Values, String>, Vec<String>) {
    warnings_of(|| {
        let base = Pretrained::<QwenVl>::load(dir, &Device::flex());
        let base = base.map_err(|error| error.to_string())?;
        let mut values = BTreeMap::new();
        visit_parameters(&base.model, |parameter| {
            let found = parameter.values.clone().try_into_vec_as::<f32>().unwrap();
            values.insert(parameter.name.clone(), found);
        });
        Ok(values)
    })
}

fn quiet(dir: &Path) -> Values {
    let (values, told) = load(dir);
    assert!(told.is_empty(), "{told:?}");
    values.unwrap()
}

/// Warns once of this.
fn told(told: &[String], parts: &[&str]) {
    assert_eq!(told.len(), 1, "{told:?}");
    for part in parts {
        assert!(told[0].contains(part), "{part}: {told:?}");
    }
}

fn change(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

/// Rewrites a file of weights with other tensors in it.
fn rewrite(path: &Path, tensors: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<u8>)>)) {
    let bytes = fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    assert!(file.iter().all(|(_, view)| view.dtype() == Dtype::F32));
    let parts = file.iter().map(|(name, view)| {
        (
            name.to_owned(),
            (view.shape().to_vec(), view.data().to_vec()),
        )
    });
    let mut all = parts.collect();
    tensors(&mut all);
    let views = all.iter().map(|(name, (shape, data))| {
        (
            name,
            TensorView::new(Dtype::F32, shape.clone(), data).unwrap(),
        )
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

#[test]
fn one_file_goes_before_an_old_index_and_its_shards() {
    let dir = copy("tiny-tied");
    let newer = quiet(dir.path());
    let shard = "model-00001-of-00001.safetensors";
    fs::copy(dir.path().join(SINGLE), dir.path().join(shard)).unwrap();
    let numbers = |tensors: &mut BTreeMap<String, (Vec<usize>, Vec<u8>)>| {
        for (_, data) in tensors.values_mut() {
            data.fill(0);
        }
    };
    rewrite(&dir.path().join(shard), numbers);
    let map: Value = newer
        .keys()
        .map(|name| (name.clone(), json!(shard)))
        .collect();
    let index = json!({ "metadata": {}, "weight_map": map });
    fs::write(dir.path().join(INDEX), index.to_string()).unwrap();
    let (values, warnings) = load(dir.path());
    assert_eq!(values.unwrap(), newer);
    told(&warnings, &[INDEX, "is not used", SINGLE]);
    // An index that says the same is right, and a shard beside it is told by itself.
    change(&dir.path().join(INDEX), |index| {
        for file in index["weight_map"].as_object_mut().unwrap().values_mut() {
            *file = SINGLE.into();
        }
    });
    let (values, warnings) = load(dir.path());
    assert_eq!(values.unwrap(), newer);
    told(&warnings, &[shard, "is not used", SINGLE]);
    fs::remove_file(dir.path().join(shard)).unwrap();
    assert_eq!(quiet(dir.path()), newer);
}

#[test]
fn shards_that_the_index_does_not_fit_are_told() {
    let dir = copy("tiny-untied-sharded");
    let right = quiet(dir.path());
    let old = "model-00001-of-00002.safetensors";
    fs::copy(
        dir.path().join("model-00001-of-00003.safetensors"),
        dir.path().join(old),
    )
    .unwrap();
    let (values, warnings) = load(dir.path());
    assert_eq!(values.unwrap(), right);
    told(&warnings, &[old, "is not used"]);
    fs::remove_file(dir.path().join(old)).unwrap();

    let name = "model.norm.weight";
    let mut place = String::new();
    change(&dir.path().join(INDEX), |index| {
        let file = &mut index["weight_map"][name];
        place = file.as_str().unwrap().to_owned();
        let other = [
            "model-00001-of-00003.safetensors",
            "model-00002-of-00003.safetensors",
        ];
        *file = (*other.iter().find(|other| **other != place).unwrap()).into();
    });
    let (values, warnings) = load(dir.path());
    assert_eq!(values.unwrap(), right);
    told(
        &warnings,
        &[INDEX, "weight_map.model.norm.weight", &place, "1 such"],
    );
}

#[test]
fn files_in_the_place_of_weights_are_named() {
    let dir = copy("tiny-untied-sharded");
    fs::remove_file(dir.path().join(INDEX)).unwrap();
    let message = load(dir.path()).0.unwrap_err();
    assert!(
        message.contains("model-00001-of-00003.safetensors: is a shard"),
        "{message}"
    );
    let dir = copy("tiny-tied");
    fs::rename(
        dir.path().join(SINGLE),
        dir.path().join("pytorch_model.bin"),
    )
    .unwrap();
    let message = load(dir.path()).0.unwrap_err();
    assert!(message.contains("pytorch_model.bin: "), "{message}");
}

#[test]
fn tensors_that_nothing_uses_are_told_once() {
    let config = |dir: &TempDir, change_it: fn(&mut Value)| {
        change(&dir.path().join("config.json"), change_it);
    };
    let layers = copy("tiny-tied");
    config(&layers, |config| config["num_hidden_layers"] = 1.into());
    let (values, warnings) = load(layers.path());
    values.unwrap();
    told(&warnings, &[SINGLE, "`model.layers.1.", "12 such"]);
    assert!(load(layers.path()).1.is_empty());

    let blocks = copy("tiny-tied");
    config(&blocks, |config| {
        config["vision_config"]["depth"] = 1.into()
    });
    told(&load(blocks.path()).1, &[SINGLE, "`visual.blocks.1."]);

    let shards = copy("tiny-untied-sharded");
    config(&shards, |config| config["num_hidden_layers"] = 1.into());
    told(
        &load(shards.path()).1,
        &["-of-00003.safetensors", "`model.layers.1."],
    );

    // A head that is not the embedding, for a model whose head is.
    let head = copy("tiny-untied-sharded");
    config(&head, |config| config["tie_word_embeddings"] = true.into());
    told(&load(head.path()).1, &["`lm_head.weight`", "1 such"]);
}

#[test]
fn a_tied_head_and_frequencies_are_expected() {
    let dir = copy("tiny-tied");
    let plain = quiet(dir.path());
    rewrite(&dir.path().join(SINGLE), |tensors| {
        let embedding = tensors["model.embed_tokens.weight"].clone();
        tensors.insert("lm_head.weight".into(), embedding);
        let four = (vec![1], vec![0; 4]);
        tensors.insert(
            "model.layers.0.self_attn.rotary_emb.inv_freq".into(),
            four.clone(),
        );
        tensors.insert("visual.rotary_pos_emb.inv_freq".into(), four);
    });
    assert_eq!(quiet(dir.path()), plain);
}

#[test]
fn what_is_saved_is_quiet() {
    let base = Pretrained::<QwenVl>::load(model("tiny-tied"), &Device::flex()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("model");
    base.save(&out, SaveDtype::F32).unwrap();
    quiet(&out);
    // An adapter beside a model is not a part of it.
    fs::write(out.join("adapter_config.json"), "{}").unwrap();
    told(&load(&out).1, &["adapter_config.json", "not used"]);
}

#[test]
fn values_that_are_not_finite_are_refused_by_their_tensor() {
    for (tensor, value) in [
        ("model.norm.weight", f32::NAN),
        ("model.layers.1.mlp.up_proj.weight", f32::INFINITY),
        ("visual.blocks.0.attn.qkv.weight", f32::NAN),
    ] {
        let dir = copy("tiny-tied");
        rewrite(&dir.path().join(SINGLE), |tensors| {
            let (_, data) = tensors.get_mut(tensor).unwrap();
            let at = data.len() - 4;
            data[at..].copy_from_slice(&value.to_le_bytes());
        });
        let message = load(dir.path()).0.unwrap_err();
        let expected = format!("{SINGLE}: tensor `{tensor}` holds NaN or infinite values");
        assert!(message.contains(&expected), "{message}");
    }
}

#[test]
fn a_missing_tensor_is_missing_in_a_file() {
    let tensor = "model.norm.weight";
    let dir = copy("tiny-tied");
    rewrite(&dir.path().join(SINGLE), |tensors| {
        tensors.remove(tensor);
    });
    let message = load(dir.path()).0.unwrap_err();
    let expected = format!("{SINGLE}: tensor `{tensor}` is missing");
    assert!(message.contains(&expected), "{message}");
    let dir = copy("tiny-untied-sharded");
    change(&dir.path().join("config.json"), |config| {
        config["num_hidden_layers"] = 3.into();
    });
    let message = load(dir.path()).0.unwrap_err();
    assert!(
        message.contains(&format!("{INDEX}: tensor `model.layers.2.")),
        "{message}"
    );
}
