//! A pipeline chosen at loading is used, recorded, and there again after a save.

use std::fs;
use std::path::Path;

use burn::tensor::Device;
use visrl_image::ImagePipeline;
use visrl_vlm::{LoadOptions, Pretrained, QwenVl, SaveDtype};

#[test]
fn a_pipeline_chosen_at_loading_is_saved_with_the_checkpoint() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()));
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
