//! Image preparation against Pillow's and transformers' results, for every case of the fixtures
//! folder, and against damaged files.

// Tests tell how many cases they ran.
#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use visrl_core::ImageSource;
use visrl_image::{
    AlphaMode, ImagePipeline, Limits, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, Raster,
    Resample, smart_resize,
};
use visrl_testing::fixtures;

fn json<T: for<'de> Deserialize<'de>>(path: &str) -> T {
    serde_json::from_slice(&fs::read(fixtures().join(path)).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Image {
    name: String,
    file: String,
    size_wh: [usize; 2],
    stages: BTreeMap<String, Value>,
}

impl Image {
    fn path(&self) -> PathBuf {
        fixtures().join(&self.file)
    }

    fn open(&self) -> Raster {
        open(&self.path())
    }

    /// The golden image after a stage, where it is stored.
    fn stage(&self, stage: &str) -> Option<Raster> {
        let path = fixtures().join(format!("golden/images/stages/{}.{stage}.png", self.name));
        path.exists().then(|| open(&path))
    }

    /// Compares every byte with a stage's hash, its stored image, or both. Returns whether there
    /// was anything to compare with.
    fn check(&self, found: &Raster, sha256: Option<&Value>, stage: &str) -> bool {
        let found = found.to_rgb(AlphaMode::Drop);
        let golden = self
            .stage(stage)
            .map(|golden| golden.to_rgb(AlphaMode::Drop));
        if let Some(golden) = &golden {
            let size = |raster: &Raster| (raster.width(), raster.height());
            assert_eq!(size(&found), size(golden), "{} {stage}", self.name);
            let pairs = found.data().iter().zip(golden.data());
            let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max().unwrap();
            assert_eq!(worst, 0, "{} {stage}: levels off", self.name);
        }
        if let Some(sha256) = sha256.and_then(Value::as_str) {
            let hash: String = Sha256::digest(found.data())
                .iter()
                .map(|b| format!("{b:02x}"))
                .collect();
            assert_eq!(hash, sha256, "{} {stage}", self.name);
            return true;
        }
        golden.is_some()
    }
}

fn open(path: &Path) -> Raster {
    Raster::open(&ImageSource::path(path), &Limits::default()).unwrap()
}

/// The images of the folder. Those whose file is not there are left out.
fn images() -> Vec<Image> {
    there(json("golden/images/meta.json"))
}

fn there(all: Vec<Image>) -> Vec<Image> {
    let there: Vec<Image> = all
        .into_iter()
        .filter(|image| image.path().exists())
        .collect();
    assert!(!there.is_empty(), "no image of golden/images is there");
    there
}

#[derive(Deserialize)]
struct SizeCase {
    height: usize,
    width: usize,
    factor: usize,
    min_pixels: usize,
    max_pixels: usize,
    out: Value,
}

/// What a processor makes of the images: Qwen2-VL's, and one for each file of `golden/images` that
/// has settings of its own.
struct Set {
    /// What its files begin with; nothing for Qwen2-VL's.
    name: String,
    base: Qwen2VlProcessorConfig,
    images: Vec<Image>,
    sizes: Vec<SizeCase>,
}

fn sets() -> Vec<Set> {
    let mut sets = vec![Set {
        name: String::new(),
        base: Qwen2VlProcessorConfig::default(),
        images: images(),
        sizes: json("golden/images/smart_resize.json"),
    }];
    for path in golden_images("json") {
        let mut file: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        if file.get("settings").is_none() {
            continue;
        }
        let part = |value: &Value, key: &str| value[key].clone();
        let settings = part(&file, "settings");
        let number = |key: &str| settings[key].as_u64().unwrap() as usize;
        let channels = |key: &str| serde_json::from_value(part(&settings, key)).unwrap();
        sets.push(Set {
            name: path.file_stem().unwrap().to_str().unwrap().to_owned(),
            base: Qwen2VlProcessorConfig {
                patch_size: number("patch_size"),
                temporal_patch_size: number("temporal_patch_size"),
                merge_size: number("merge_size"),
                image_mean: channels("image_mean"),
                image_std: channels("image_std"),
                ..Default::default()
            },
            images: there(serde_json::from_value(file["images"].take()).unwrap()),
            sizes: serde_json::from_value(file["smart_resize"].take()).unwrap(),
        });
    }
    sets
}

/// The files of `golden/images` with an ending.
fn golden_images(ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join("golden/images")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    files
}

fn processor(
    base: &Qwen2VlProcessorConfig,
    pipeline: ImagePipeline,
    bounds: (usize, usize),
) -> Qwen2VlProcessor {
    let (min_pixels, max_pixels) = bounds;
    let config = Qwen2VlProcessorConfig {
        min_pixels,
        max_pixels,
        pipeline,
        ..base.clone()
    };
    Qwen2VlProcessor::new(config).unwrap()
}

/// A stage's pipeline and pixel bounds: those it names, or else those its name stands for.
fn settings(stage: &str, info: &Value) -> (ImagePipeline, (usize, usize)) {
    let named = |key: &str| info[key].as_u64().map(|bound| bound as usize);
    let max = if stage == "small" { 12_544 } else { 401_408 };
    let bounds = (
        named("min_pixels").unwrap_or(3136),
        named("max_pixels").unwrap_or(max),
    );
    let pipeline = match stage.strip_prefix("paper") {
        Some(size) => ImagePipeline::Paper {
            size: size.parse().unwrap(),
        },
        None => ImagePipeline::Plain,
    };
    (pipeline, bounds)
}

/// The processor's stages of an image: name and what is known of them.
fn processed_stages(image: &Image) -> impl Iterator<Item = (&str, &Value)> {
    let stages = image
        .stages
        .iter()
        .map(|(stage, info)| (stage.as_str(), info));
    stages.filter(|(_, info)| info.get("grid_thw").is_some())
}

#[test]
fn smart_resize_gives_transformers_sizes_and_errors() {
    let mut cases = 0;
    for SizeCase {
        height,
        width,
        factor,
        min_pixels,
        max_pixels,
        out,
    } in sets().into_iter().flat_map(|set| set.sizes)
    {
        match smart_resize(height, width, factor, min_pixels, max_pixels) {
            Ok((h, w)) => assert_eq!(serde_json::json!([h, w]), out, "{height}x{width}"),
            Err(error) => assert_eq!(format!("error: {error}"), out.as_str().unwrap()),
        }
        cases += 1;
    }
    println!("smart_resize: {cases} cases");
    assert!(cases > 0);
}

#[test]
fn resizing_equals_pillow_in_every_byte() {
    let bytes = fs::read(fixtures().join("golden/images/pil_resize.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let images = images();
    let mut cases = 0;
    for (key, golden) in file.tensors() {
        let [name, filter, size] = key.split('.').collect::<Vec<_>>().try_into().unwrap();
        let starts = format!("{name}_");
        let image = images
            .iter()
            .find(|i| i.name == name || i.name.starts_with(&starts));
        let Some(image) = image else { continue };
        let filter: Resample = serde_json::from_value(filter.into()).unwrap();
        let (width, height) = size.split_once('x').unwrap();
        let (width, height) = (width.parse().unwrap(), height.parse().unwrap());
        let resized = image.open().resize(width, height, filter);
        assert_eq!(golden.shape()[..2], [height, width], "{key}");
        assert_eq!(
            resized.mode().bytes(),
            *golden.shape().get(2).unwrap_or(&1),
            "{key}"
        );
        assert!(resized.data() == golden.data(), "{key} differs");
        cases += 1;
    }
    println!("pil_resize: {cases} cases");
    assert!(cases > 0);
}

#[test]
fn every_stage_of_every_image_equals_the_reference() {
    let mut cases = 0;
    let images = sets().into_iter().flat_map(|set| {
        let (name, base) = (set.name, set.base);
        set.images
            .into_iter()
            .map(move |image| (name.clone(), base.clone(), image))
    });
    for (set, base, image) in images {
        let raster = image.open();
        assert_eq!(
            [raster.width(), raster.height()],
            image.size_wh,
            "{}",
            image.name
        );
        let sha = |stage: &str| image.stages.get(stage);
        let source = ImageSource::path(image.path());

        let rgb = raster.to_rgb(AlphaMode::Drop);
        cases += usize::from(image.check(&rgb, sha("rgb_drop_alpha_sha256"), "rgb"));
        let white = raster.to_rgb(AlphaMode::White);
        cases += usize::from(image.check(&white, None, "rgb_v5_white"));
        let lanczos = raster.resize(384, 384, Resample::Lanczos);
        cases += usize::from(image.check(&lanczos, sha("lanczos384_rgb_sha256"), "lanczos384"));

        // The evaluation's image before the processor's own resize: a bound that keeps 384 x 384
        // is not reachable with multiples of 28, so that resize is switched off.
        let config = Qwen2VlProcessorConfig {
            pipeline: ImagePipeline::PaperEvaluation { size: 384 },
            do_resize: false,
            patch_size: 1,
            merge_size: 1,
            ..Default::default()
        };
        let evaluation = Qwen2VlProcessor::new(config)
            .unwrap()
            .preview(&source)
            .unwrap();
        let hash = sha("paper_eval_lanczos384_sha256");
        cases += usize::from(image.check(&evaluation, hash, "evalpath384"));

        for (stage, info) in processed_stages(&image) {
            let (pipeline, bounds) = settings(stage, info);
            let processor = processor(&base, pipeline, bounds);
            let seen = processor.preview(&source).unwrap();
            assert_eq!(
                serde_json::json!([seen.height(), seen.width()]),
                info["smart_resize_hw"],
                "{} {stage}",
                image.name
            );
            // Images are stored of the first set alone.
            let stored = match set.as_str() {
                "" => stage.to_owned(),
                set => format!("{set}.{stage}"),
            };
            cases += usize::from(image.check(&seen, info.get("resized_uint8_sha256"), &stored));
            let processed = processor.process(&source).unwrap();
            let shape = [processed.patches(), processed.patch_dim];
            assert_eq!(serde_json::json!(processed.grid), info["grid_thw"]);
            assert_eq!(
                serde_json::json!(processed.tokens(2)),
                info["n_image_tokens"]
            );
            assert_eq!(serde_json::json!(shape), info["pixel_values_shape"]);
            let sum: f64 = processed
                .pixel_values
                .iter()
                .map(|&v| f64::from(v).abs())
                .sum();
            let mean = sum / processed.pixel_values.len() as f64;
            let golden = info["pv_abs_mean"].as_f64().unwrap();
            assert!(
                (mean - golden).abs() <= 1e-6,
                "{} {stage}: {mean}",
                image.name
            );
        }
    }
    println!("image stages: {cases} cases");
    assert!(cases > 0);
}

fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|&b| f32::from_le_bytes(b))
        .collect()
}

fn assert_close(found: &[f32], golden: &[f32], what: &str) {
    assert_eq!(found.len(), golden.len(), "{what}");
    let worst = found
        .iter()
        .zip(golden)
        .map(|(a, b)| (a - b).abs())
        .fold(0.0, f32::max);
    assert!(worst <= 1e-6, "{what}: off by {worst}");
}

/// The pixel values of an image after a stage.
fn pixel_values(base: &Qwen2VlProcessorConfig, image: &Image, stage: &str) -> Vec<f32> {
    let (pipeline, bounds) = settings(stage, &image.stages[stage]);
    let source = ImageSource::path(image.path());
    processor(base, pipeline, bounds)
        .process(&source)
        .unwrap()
        .pixel_values
}

#[test]
fn pixel_values_equal_the_reference() {
    let sets = sets();
    let mut cases = 0;
    for path in golden_images("safetensors") {
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Some((name, _)) = stem.split_once("pixel_values") else {
            continue;
        };
        let name = name.trim_end_matches('_');
        let set = sets.iter().find(|set| set.name == name).unwrap();
        let bytes = fs::read(&path).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        for (key, golden) in file.tensors() {
            let [name, stage, what] = key.split('.').collect::<Vec<_>>().try_into().unwrap();
            let image = set.images.iter().find(|image| image.name == name);
            let Some(image) = image.filter(|_| what != "rows") else {
                continue;
            };
            assert_eq!(golden.dtype(), Dtype::F32, "{key}");
            let values = pixel_values(&set.base, image, stage);
            // Of large images some patches alone.
            let found = match file.tensor(&format!("{name}.{stage}.rows")) {
                Err(_) => values,
                Ok(rows) => {
                    let dim = golden.shape()[1];
                    let rows = rows.data().as_chunks().0.iter();
                    let rows = rows.map(|&b| i64::from_le_bytes(b) as usize);
                    rows.flat_map(|row| values[row * dim..(row + 1) * dim].to_vec())
                        .collect()
                }
            };
            assert_close(&found, &floats(golden.data()), &key);
            cases += 1;
        }
    }
    println!("pixel values: {cases} cases");
    assert!(cases > 0);
}

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
