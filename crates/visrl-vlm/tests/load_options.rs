//! What is chosen at loading is used, recorded, and there again after a save; sizes of the processor
//! are the model's.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use serde_json::{Value, json};
use visrl_core::{ImageSource, Prompt};
use visrl_image::{ImagePipeline, Limits};
use visrl_testing::fixtures;
use visrl_vlm::{LoadOptions, Pretrained, QwenVl, SaveDtype};

#[test]
fn a_pipeline_chosen_at_loading_is_saved_with_the_checkpoint() {
    let root = fixtures();
    let out = tempfile::tempdir().unwrap();
    let device = Device::flex();
    let mut checked = 0;
    for entry in fs::read_dir(root.join("models")).unwrap() {
        let dir = entry.unwrap().path();
        if !dir.join("config.json").exists() {
            continue;
        }
        let pipeline =
            |base: &Pretrained<QwenVl>| base.encoder.processor().settings()["pipeline"].clone();
        let plain = Pretrained::load(&dir, &device).unwrap();
        assert_eq!(pipeline(&plain)["type"], "plain");
        let options = LoadOptions {
            pipeline: Some(ImagePipeline::Paper { size: 300 }),
            ..LoadOptions::default()
        };
        let paper = Pretrained::load_with(&dir, &device, &options).unwrap();
        assert_eq!(pipeline(&paper)["size"], 300);
        let saved = out.path().join(checked.to_string());
        paper
            .files
            .save(&paper.model, &saved, SaveDtype::F32)
            .unwrap();
        let back = Pretrained::<QwenVl>::load(&saved, &device).unwrap();
        assert_eq!(
            back.encoder.processor().settings(),
            paper.encoder.processor().settings()
        );
        checked += 1;
    }
    assert!(checked > 0);
}

/// The files of a tiny checkpoint, with other settings of its processor.
fn folder(files: &[(&str, &Value)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(fixtures().join("models/tiny-tied")).unwrap() {
        let path = entry.unwrap().path();
        let bytes = fs::read(&path).unwrap();
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    for (name, value) in files {
        fs::write(dir.path().join(name), value.to_string()).unwrap();
    }
    dir
}

fn load(dir: &Path, options: &LoadOptions) -> Result<Pretrained<QwenVl>, String> {
    let base = Pretrained::load_with(dir, &Device::flex(), options);
    base.map_err(|error| error.to_string())
}

/// Tokens of a prompt with a grey picture.
fn tokens(base: &Pretrained<QwenVl>, width: u32, height: u32) -> Result<usize, String> {
    let image = ImageSource::Gray {
        name: "grey".into(),
        width,
        height,
        pixels: vec![90; (width * height) as usize].into(),
    };
    let prompt = Arc::new(Prompt::user("p", image, "What is it?"));
    let inputs = base.encoder.encode_all(&base.model, &[prompt]);
    Ok(inputs.map_err(|error| error.to_string())?[0].ids.len())
}

#[test]
fn bounds_chosen_at_loading_are_used_and_saved() {
    let hub = json!({
        "image_processor_type": "Qwen2VLImageProcessor",
        "size": { "shortest_edge": 3136, "longest_edge": 12_845_056 },
    });
    let newer = json!({ "image_processor": hub });
    let dir = folder(&[
        ("preprocessor_config.json", &hub),
        ("processor_config.json", &newer),
    ]);
    let plain = load(dir.path(), &LoadOptions::default()).unwrap();
    // 2000 x 1500 pixels become 71 x 54 tokens, as they are.
    let message = tokens(&plain, 2000, 1500).unwrap_err();
    for part in [
        "[3834] tokens",
        "2048",
        "`max_prompt_tokens`",
        "`max_pixels`",
    ] {
        assert!(message.contains(part), "{message}");
    }
    let small = tokens(&plain, 28, 28).unwrap();
    let options = LoadOptions {
        min_pixels: Some(12_544),
        max_pixels: Some(200_704),
        ..LoadOptions::default()
    };
    let bound = load(dir.path(), &options).unwrap();
    // 504 x 392 pixels, and 112 x 112.
    assert_eq!(tokens(&bound, 2000, 1500).unwrap(), small - 4 + 18 * 13);
    assert_eq!(tokens(&bound, 28, 28).unwrap(), small - 4 + 16);
    let saved = dir.path().join("saved");
    bound.save(&saved, SaveDtype::F32).unwrap();
    let back = load(&saved, &LoadOptions::default()).unwrap();
    let settings = back.encoder.processor().settings();
    assert_eq!(settings, bound.encoder.processor().settings());
    assert_eq!(
        (&settings["min_pixels"], &settings["max_pixels"]),
        (&12_544.into(), &200_704.into())
    );
    for (name, part) in [
        ("preprocessor_config.json", None),
        ("processor_config.json", Some("image_processor")),
    ] {
        let file: Value = serde_json::from_slice(&fs::read(saved.join(name)).unwrap()).unwrap();
        let settings = part.map_or(&file, |part| &file[part]);
        assert_eq!(settings["size"]["longest_edge"], 200_704, "{name}");
        assert_eq!(settings["min_pixels"], 12_544, "{name}");
        assert_eq!(settings.get("visrl"), None, "{name}");
    }

    let long = LoadOptions {
        max_prompt_tokens: Some(4000),
        ..LoadOptions::default()
    };
    let long = load(dir.path(), &long).unwrap();
    assert_eq!(tokens(&long, 2000, 1500).unwrap(), small - 4 + 3834);
}

#[test]
fn bounds_that_cannot_be_are_refused_by_name() {
    let dir = folder(&[]);
    for (options, named) in [
        (
            LoadOptions {
                max_pixels: Some(0),
                ..LoadOptions::default()
            },
            "`max_pixels`",
        ),
        (
            LoadOptions {
                max_pixels: Some(1000),
                ..LoadOptions::default()
            },
            "min_pixels 3136",
        ),
        (
            LoadOptions {
                min_pixels: Some(500_000),
                ..LoadOptions::default()
            },
            "min_pixels 500000",
        ),
        (
            LoadOptions {
                max_prompt_tokens: Some(0),
                ..LoadOptions::default()
            },
            "`max_prompt_tokens`",
        ),
    ] {
        let message = load(dir.path(), &options).unwrap_err();
        assert!(message.contains(named), "{message}");
    }
    let limits = Limits {
        max_pixels: 100,
        ..Limits::default()
    };
    let options = LoadOptions {
        limits: Some(limits),
        ..LoadOptions::default()
    };
    let tight = load(dir.path(), &options).unwrap();
    let message = tokens(&tight, 28, 28).unwrap_err();
    assert!(
        message.contains("`limits.max_pixels` of the model's load options"),
        "{message}"
    );
}

#[test]
fn sizes_of_the_processor_are_the_model_s() {
    for (field, value, of_model) in [
        ("patch_size", 16, "vision_config.patch_size"),
        (
            "temporal_patch_size",
            1,
            "vision_config.temporal_patch_size",
        ),
        ("merge_size", 1, "vision_config.spatial_merge_size"),
    ] {
        let settings = json!({ field: value });
        let nested = json!({ "image_processor": settings });
        for (files, place) in [
            ([("preprocessor_config.json", &settings)], field.to_owned()),
            (
                [("processor_config.json", &nested)],
                format!("image_processor.{field}"),
            ),
        ] {
            let dir = folder(&files);
            let message = load(dir.path(), &LoadOptions::default()).unwrap_err();
            let expected = format!("{}: field `{place}`: is {value}", files[0].0);
            assert!(
                message.contains(&expected) && message.contains(of_model),
                "{message}"
            );
        }
    }
}

#[test]
fn a_vision_tower_for_other_channels_is_refused() {
    let path = fixtures().join("models/tiny-tied/config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    config["vision_config"]["in_chans"] = 1.into();
    config["vision_config"]["in_channels"] = 1.into();
    let dir = folder(&[("config.json", &config)]);
    let message = load(dir.path(), &LoadOptions::default()).unwrap_err();
    assert!(
        message.contains("config.json: field `vision_config.in_channels`"),
        "{message}"
    );
}

#[test]
fn without_bounds_a_picture_is_as_large_as_in_transformers() {
    let bare = json!({ "image_processor_type": "Qwen2VLImageProcessor" });
    let dir = folder(&[("preprocessor_config.json", &bare)]);
    let base = load(dir.path(), &LoadOptions::default()).unwrap();
    let small = tokens(&base, 28, 28).unwrap();
    // 60 x 82 patches.
    assert_eq!(tokens(&base, 1600, 1200).unwrap(), small - 4 + 30 * 41);
}
