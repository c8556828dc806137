//! Image preparation against Pillow's and transformers' results, for every case of the fixtures
//! folder.

// Tests tell how many cases they ran.
#![allow(clippy::print_stdout)]

mod golden;

use std::fs;

use golden::{Image, SizeCase, golden_images, images, processed_stages, processor, sets, settings};
use safetensors::{Dtype, SafeTensors};
use visrl_core::ImageSource;
use visrl_image::{
    AlphaMode, ImagePipeline, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig, Resample,
    smart_resize,
};
use visrl_testing::fixtures;

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
