//! Low-rank adapters: what they change, and PEFT's files.

use std::fs;
use std::sync::Arc;

use burn::tensor::{Device, Distribution, Tensor};
use visrl_core::{Domain, SeedStream};
use visrl_vlm::{
    Adapter, DecoderInput, Error, LoraConfig, Output, ProcessedImage, QwenVl, Segment,
    TargetModules, VisionLanguageModel, attach_lora, load_lora, merge_lora, save_lora,
    visit_parameters, without_lora,
};

/// Every model of the fixtures that is held in f32.
fn models() -> Vec<QwenVl> {
    let root = visrl_testing::fixtures();
    let mut dirs: Vec<_> = fs::read_dir(root.join("models"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("config.json").exists())
        .collect();
    dirs.sort();
    assert!(!dirs.is_empty());
    let device = Device::flex();
    let models = dirs
        .iter()
        .map(|dir| QwenVl::from_dir(dir, &device).unwrap());
    models.collect()
}

/// Logits of a short prompt with an image.
fn logits(model: &QwenVl) -> Vec<f32> {
    let vision = &model.config().vision;
    let side = 4 * vision.merge_size;
    let grid = [1, side, side + vision.merge_size];
    let count = grid.iter().product::<usize>() * vision.patch_dim();
    let pixels: Vec<f32> = (0..count)
        .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
        .collect();
    let images = [Arc::new(ProcessedImage::new(pixels, grid))];
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
    hidden
        .unwrap()
        .matmul(model.head())
        .try_into_vec_as()
        .unwrap()
}

fn worst(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter()
        .zip(b)
        .fold(0.0, |worst, (a, b)| worst.max((a - b).abs()))
}

/// An adapter as training would leave it: B is not 0.
fn trained(model: QwenVl, config: &LoraConfig) -> QwenVl {
    let rng = SeedStream::new(3, Domain::Sampling).rng();
    let mut model = attach_lora(model, config, rng).unwrap();
    model.each_linear(&mut |_, dense| {
        if let Some(adapter) = dense.adapter() {
            let noise = Distribution::Normal(0.0, 0.05);
            let b = Tensor::random(adapter.b.dims(), noise, &adapter.b.device());
            dense.set_adapter(Some(Adapter { b, ..adapter }));
        }
    });
    model
}

fn everywhere() -> LoraConfig {
    LoraConfig {
        r: 4,
        lora_alpha: 8.0,
        target_modules: TargetModules::Pattern("all-linear".into()),
        ..LoraConfig::default()
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_a_trained_one_does() {
    for model in models() {
        let before = logits(&model);
        let rng = SeedStream::new(1, Domain::Sampling).rng();
        let new = attach_lora(model.clone(), &everywhere(), rng).unwrap();
        assert_eq!(logits(&new), before);
        let model = trained(model, &everywhere());
        let with = logits(&model);
        assert!(worst(&with, &before) > 0.01);
        assert!(worst(&logits(&merge_lora(model.clone())), &with) < 2e-4);
        assert_eq!(logits(&without_lora(model)), before);
    }
}

#[test]
fn saved_adapters_come_back_equal() {
    let dir = tempfile::tempdir().unwrap();
    for (index, model) in models().into_iter().enumerate() {
        for config in [
            everywhere(),
            LoraConfig {
                r: 2,
                use_rslora: true,
                ..Default::default()
            },
            LoraConfig {
                r: 2,
                use_dora: true,
                ..Default::default()
            },
        ] {
            let path = dir.path().join(format!("adapter-{index}"));
            let adapted = trained(model.clone(), &config);
            save_lora(&adapted, &config, "base", &path).unwrap();
            let (back, read) = load_lora(model.clone(), &path).unwrap();
            assert_eq!(read, config);
            assert_eq!(logits(&back), logits(&adapted));
        }
    }
}

#[test]
fn names_and_expressions_choose_layers() {
    let model = models().remove(0);
    let count = |targets: TargetModules| {
        let config = LoraConfig {
            target_modules: targets,
            ..LoraConfig::default()
        };
        config.targets(&mut model.clone()).map(|found| found.len())
    };
    let layers = model.info().layers;
    let names =
        |names: &[&str]| TargetModules::Names(names.iter().map(|n| n.to_string()).collect());
    let pattern = |pattern: &str| TargetModules::Pattern(pattern.into());
    assert_eq!(count(names(&["q_proj"])).unwrap(), layers);
    assert_eq!(
        count(names(&["layers.0.self_attn.q_proj", "v_proj"])).unwrap(),
        layers + 1
    );
    assert_eq!(
        count(names(&["attn.qkv"])).unwrap(),
        model.config().vision.depth
    );
    let of_transformers = r"model\.language_model\.layers\.\d+\.mlp\.(up|down)_proj";
    assert_eq!(count(pattern(of_transformers)).unwrap(), 2 * layers);
    assert_eq!(
        count(pattern(r"model\.layers\.\d+\.mlp\.up_proj")).unwrap(),
        layers
    );
    for nothing in [
        names(&["q_proj", "query"]),
        names(&["proj_q", ""]),
        names(&[]),
        pattern("q_proj"),
        pattern("("),
    ] {
        let error = count(nothing.clone()).unwrap_err();
        assert!(matches!(error, Error::Adapter(_)), "{nothing:?}: {error}");
        assert!(error.to_string().contains("target_modules"), "{error}");
    }
    let rank = LoraConfig {
        r: 0,
        ..LoraConfig::default()
    };
    assert!(
        rank.targets(&mut model.clone())
            .unwrap_err()
            .to_string()
            .contains("r is 0")
    );
}

#[test]
fn the_factors_have_peft_s_names_and_follow_their_layers() {
    let model = trained(models().remove(0), &everywhere());
    let mut shapes = std::collections::BTreeMap::new();
    visit_parameters(&model, |parameter| {
        shapes.insert(parameter.name, (parameter.shape, parameter.transposed));
    });
    let hidden = model.info().hidden_size;
    let layer = "model.layers.0.self_attn.q_proj";
    assert_eq!(
        shapes[&format!("{layer}.lora_A.weight")],
        (vec![hidden, 4], true)
    );
    assert_eq!(shapes[&format!("{layer}.lora_B.weight")].0[0], 4);
    assert_eq!(shapes[&format!("{layer}.weight")].0[0], hidden);
}

#[test]
fn unfit_files_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("adapter");
    let model = models().remove(0);
    let config = LoraConfig {
        r: 2,
        ..LoraConfig::default()
    };
    assert!(matches!(
        save_lora(&model, &config, "base", &path),
        Err(Error::Adapter(_))
    ));
    assert!(!path.exists());
    save_lora(&trained(model.clone(), &config), &config, "base", &path).unwrap();
    let good = fs::read_to_string(path.join("adapter_config.json")).unwrap();
    for (from, to, named) in [
        ("\"LORA\"", "\"IA3\"", "peft_type"),
        ("\"r\": 2", "\"r\": 3", "lora_A"),
        ("\"r\": 2", "\"r\": -1", "`r`"),
        ("\"bias\": \"none\"", "\"bias\": \"all\"", "`bias`"),
        (
            "\"rank_pattern\": {}",
            "\"rank_pattern\": {\"q_proj\": 8}",
            "rank_pattern",
        ),
        ("\"q_proj\",", "", "belongs to no layer"),
    ] {
        let text = good.replace(from, to);
        assert_ne!(text, good, "{from}");
        fs::write(path.join("adapter_config.json"), text).unwrap();
        let error = load_lora(model.clone(), &path).unwrap_err().to_string();
        assert!(
            error.contains(named) && error.contains("adapter_"),
            "{error}"
        );
    }
    fs::write(path.join("adapter_config.json"), &good).unwrap();
    let weights = path.join("adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..bytes.len() - 10]).unwrap();
    let error = load_lora(model, &path).unwrap_err().to_string();
    assert!(error.contains("adapter_model.safetensors"), "{error}");
}
