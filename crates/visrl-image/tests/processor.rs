//! Processors of folders, pictures of many kinds against Pillow's, and damaged files.

// Tests tell how many cases they ran.
#![allow(clippy::print_stdout)]

mod golden;

use std::fs;
use std::path::{Path, PathBuf};

use golden::{Image, images, open, processor};
use proptest::prelude::*;
use visrl_core::ImageSource;
use visrl_image::{
    AlphaMode, ImagePipeline, Limits, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, Raster,
    Resample, smart_resize,
};
use visrl_testing::fixtures;

#[test]
fn the_processor_of_every_model_folder_is_read_and_written() {
    let mut cases = 0;
    for entry in fs::read_dir(fixtures().join("models")).unwrap() {
        let dir = entry.unwrap().path();
        if !["preprocessor_config.json", "processor_config.json"]
            .iter()
            .any(|name| dir.join(name).exists())
        {
            continue;
        }
        let read = Qwen2VlProcessor::from_dir(&dir).unwrap();
        assert_eq!(read.config().pipeline, ImagePipeline::Plain);
        let read = read.with_pipeline(ImagePipeline::default()).unwrap();
        let copy = tempfile::tempdir().unwrap();
        read.save(copy.path()).unwrap();
        let again = Qwen2VlProcessor::from_dir(copy.path()).unwrap();
        assert_eq!(again.config(), read.config(), "{}", dir.display());
        let image = images().remove(0);
        let source = ImageSource::path(image.path());
        let side = 384usize;
        let config = read.config();
        let factor = config.patch_size * config.merge_size;
        let (height, width) =
            smart_resize(side, side, factor, config.min_pixels, config.max_pixels).unwrap();
        let grid = [1, height / config.patch_size, width / config.patch_size];
        assert_eq!(again.process(&source).unwrap().grid, grid);
        cases += 1;
    }
    println!("processor configurations: {cases} cases");
    assert!(cases > 0);
}

/// Small files of many kinds beside what Pillow 13 makes of them: the pixels of `x.jpg` are those of
/// `x.rgb.png`; `x.png` resized by Lanczos is `x.lanczos.png`, and on white `x.white.png`.
#[test]
fn files_of_many_kinds_equal_pillow_in_every_byte() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut cases = 0;
    let mut compare = |found: Raster, golden: PathBuf| {
        assert!(found.data() == open(&golden).data(), "{}", golden.display());
        cases += 1;
    };
    for entry in fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match name.split('.').collect::<Vec<_>>()[..] {
            [stem, "jpg"] => {
                let golden = folder.join(format!("{stem}.rgb.png"));
                compare(open(&path).to_rgb(AlphaMode::Drop), golden);
            }
            [stem, "png"] => {
                let small = open(&path).resize(17, 23, Resample::Lanczos);
                let golden = |kind| folder.join(format!("{stem}.{kind}.png"));
                compare(small.to_rgb(AlphaMode::Drop), golden("lanczos"));
                compare(small.to_rgb(AlphaMode::White), golden("white"));
            }
            _ => {}
        }
    }
    println!("files of many kinds: {cases} cases");
    assert!(cases > 0);
}

#[test]
fn images_prepared_together_equal_images_prepared_alone() {
    let base = Qwen2VlProcessorConfig::default();
    let processor = processor(&base, ImagePipeline::Plain, (3136, 12_544));
    let sources: Vec<ImageSource> = images()
        .iter()
        .map(|image| ImageSource::path(image.path()))
        .collect();
    let doubled: Vec<ImageSource> = sources.iter().chain(&sources).cloned().collect();
    let together = processor.process_all(&doubled).unwrap();
    for (i, source) in sources.iter().enumerate() {
        assert_eq!(*together[i], processor.process(source).unwrap());
        let again = &together[i + sources.len()];
        assert!(std::sync::Arc::ptr_eq(&together[i], again));
    }
}

/// What may happen to a file on its way: cut, then some bytes changed.
fn damage() -> impl Strategy<Value = (f64, Vec<(f64, u8)>)> {
    (
        prop_oneof![Just(1.0), 0.0..1.0f64],
        prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..6),
    )
}

fn damaged(bytes: &[u8], (keep, changes): &(f64, Vec<(f64, u8)>)) -> Vec<u8> {
    let mut bytes = bytes[..(bytes.len() as f64 * keep) as usize].to_vec();
    for (at, value) in changes {
        let at = (bytes.len() as f64 * at) as usize;
        if let Some(byte) = bytes.get_mut(at) {
            *byte = *value;
        }
    }
    bytes
}

/// The small images of the fixtures and of this crate.
fn victims() -> Vec<(String, Vec<u8>)> {
    let own = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")).unwrap();
    let own = own.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = images().iter().map(Image::path).chain(own).collect();
    paths.sort();
    let files = paths
        .iter()
        .map(|path| (path.display().to_string(), fs::read(path).unwrap()));
    files.filter(|(_, bytes)| bytes.len() < 10_000).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn damaged_images_never_panic(which in any::<prop::sample::Index>(), damage in damage()) {
        let victims = victims();
        let (name, bytes) = &victims[which.index(victims.len())];
        let bytes = damaged(bytes, &damage);
        let source = ImageSource::Encoded { name: name.as_str().into(), bytes: bytes.into() };
        let limits = Limits { max_pixels: 1 << 20, ..Limits::default() };
        let config = Qwen2VlProcessorConfig {
            max_pixels: 3136,
            pipeline: ImagePipeline::Plain,
            limits,
            ..Default::default()
        };
        let processor = Qwen2VlProcessor::new(config).unwrap();
        if let Err(error) = processor.process(&source) {
            let named = error.to_string().starts_with(&format!("image {name}: "));
            prop_assert!(named, "{}", error);
        }
    }

    #[test]
    fn damaged_headers_never_panic(which in any::<prop::sample::Index>(), at in 0usize..600, value: u8) {
        let victims = victims();
        let (name, bytes) = &victims[which.index(victims.len())];
        let mut bytes = bytes.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let source = ImageSource::Encoded { name: name.as_str().into(), bytes: bytes.into() };
        let limits = Limits { max_pixels: 1 << 20, ..Limits::default() };
        let _ = Raster::open(&source, &limits);
    }

    #[test]
    fn damaged_configurations_never_panic(damage in damage()) {
        let dir = tempfile::tempdir().unwrap();
        Qwen2VlProcessorConfig::default().save(dir.path()).unwrap();
        let path = dir.path().join("preprocessor_config.json");
        fs::write(&path, damaged(&fs::read(&path).unwrap(), &damage)).unwrap();
        if let Err(error) = Qwen2VlProcessor::from_dir(dir.path()) {
            prop_assert!(error.to_string().contains("preprocessor_config.json"));
        }
    }
}
