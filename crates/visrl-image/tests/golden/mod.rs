//! The golden images of the fixtures folder, and the processors that they belong to.

#![allow(dead_code, unreachable_pub)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use visrl_core::ImageSource;
use visrl_image::{
    AlphaMode, ImagePipeline, Limits, Qwen2VlProcessor, Qwen2VlProcessorConfig, Raster,
};
use visrl_testing::fixtures;

pub fn json<T: for<'de> Deserialize<'de>>(path: &str) -> T {
    serde_json::from_slice(&fs::read(fixtures().join(path)).unwrap()).unwrap()
}

#[derive(Deserialize)]
pub struct Image {
    pub name: String,
    pub file: String,
    pub size_wh: [usize; 2],
    pub stages: BTreeMap<String, Value>,
}

impl Image {
    pub fn path(&self) -> PathBuf {
        fixtures().join(&self.file)
    }

    pub fn open(&self) -> Raster {
        open(&self.path())
    }

    /// The golden image after a stage, where it is stored.
    pub fn stage(&self, stage: &str) -> Option<Raster> {
        let path = fixtures().join(format!("golden/images/stages/{}.{stage}.png", self.name));
        path.exists().then(|| open(&path))
    }

    /// Compares every byte with a stage's hash, its stored image, or both. Returns whether there
    /// was anything to compare with.
    pub fn check(&self, found: &Raster, sha256: Option<&Value>, stage: &str) -> bool {
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

pub fn open(path: &Path) -> Raster {
    Raster::open(&ImageSource::path(path), &Limits::default()).unwrap()
}

/// The images of the folder. Those whose file is not there are left out.
pub fn images() -> Vec<Image> {
    there(json("golden/images/meta.json"))
}

pub fn there(all: Vec<Image>) -> Vec<Image> {
    let there: Vec<Image> = all
        .into_iter()
        .filter(|image| image.path().exists())
        .collect();
    assert!(!there.is_empty(), "no image of golden/images is there");
    there
}

#[derive(Deserialize)]
pub struct SizeCase {
    pub height: usize,
    pub width: usize,
    pub factor: usize,
    pub min_pixels: usize,
    pub max_pixels: usize,
    pub out: Value,
}

/// What a processor makes of the images: Qwen2-VL's, and one for each file of `golden/images` that
/// has settings of its own.
pub struct Set {
    /// What its files begin with; nothing for Qwen2-VL's.
    pub name: String,
    pub base: Qwen2VlProcessorConfig,
    pub images: Vec<Image>,
    pub sizes: Vec<SizeCase>,
}

pub fn sets() -> Vec<Set> {
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
pub fn golden_images(ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(fixtures().join("golden/images")).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|found| found == ending));
    files.sort();
    files
}

pub fn processor(
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
pub fn settings(stage: &str, info: &Value) -> (ImagePipeline, (usize, usize)) {
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
pub fn processed_stages(image: &Image) -> impl Iterator<Item = (&str, &Value)> {
    let stages = image
        .stages
        .iter()
        .map(|(stage, info)| (stage.as_str(), info));
    stages.filter(|(_, info)| info.get("grid_thw").is_some())
}
