//! Qwen2-VL, Qwen2.5-VL and Qwen3-VL against transformers' numbers, for every case of the fixtures folder.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use visrl_core::ImageSource;
use visrl_image::{ImagePipeline, Processor, Qwen2VlProcessor, Qwen2VlProcessorConfig};
use visrl_testing::fixtures;
use visrl_vlm::qwen_vl::QwenVlKind;
use visrl_vlm::{
    DecoderInput, Output, ParamDtype, ProcessedImage, QwenVl, QwenVlConfig, SafetensorsDir,
    Segment, VisionLanguageModel,
};

/// The device that `VISRL_DEVICE` names: `flex` (the default), or in a build with that feature
/// `wgpu`, `tch` or `tch:N`.
fn device() -> Device {
    match std::env::var("VISRL_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
        #[cfg(feature = "wgpu")]
        Ok("wgpu") => Device::wgpu(burn::tensor::DeviceKind::DefaultDevice),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        Ok("tch") => Device::libtorch(),
        #[cfg(feature = "tch")]
        #[allow(deprecated)]
        Ok(device) if device.starts_with("tch:") => {
            Device::libtorch_cuda(device[4..].parse::<usize>().unwrap())
        }
        Ok(other) => panic!("VISRL_DEVICE: this build has no device `{other}`"),
    }
}

struct Case {
    bytes: Vec<u8>,
    /// Images prepared here, where the file holds no pixel values.
    rebuilt: Vec<Arc<ProcessedImage>>,
}

/// The images of a case through the paper's pipeline, `paper384` being its size.
fn rebuild(root: &Path, golden: &Path, dir: &Path, case: &str) -> Vec<Arc<ProcessedImage>> {
    let info = fs::read_to_string(golden.join("info.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let info = &info["cases"][case];
    let size = case
        .strip_prefix("paper")
        .and_then(|size| size.parse().ok());
    let config = Qwen2VlProcessorConfig {
        max_pixels: info["max_pixels"].as_u64().unwrap() as usize,
        pipeline: ImagePipeline::Paper {
            size: size.unwrap_or_else(|| panic!("{case} names no pipeline")),
        },
        ..Qwen2VlProcessorConfig::from_dir(dir).unwrap()
    };
    let processor = Qwen2VlProcessor::new(config).unwrap();
    let names = info["images"].as_array().unwrap();
    let images = names.iter().map(|name| {
        let path = root.join("images").join(name.as_str().unwrap());
        Arc::new(processor.process(&ImageSource::path(path)).unwrap())
    });
    images.collect()
}

impl Case {
    fn open(path: &Path) -> Self {
        Self {
            bytes: fs::read(path).unwrap(),
            rebuilt: Vec::new(),
        }
    }

    fn floats(&self, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        assert_eq!(view.dtype(), Dtype::F32, "{name}");
        let values = view
            .data()
            .as_chunks::<4>()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b));
        Some((view.shape().to_vec(), values.collect()))
    }

    fn ints(&self, name: &str) -> Option<(Vec<usize>, Vec<i64>)> {
        let file = SafeTensors::deserialize(&self.bytes).unwrap();
        let view = file.tensor(name).ok()?;
        assert_eq!(view.dtype(), Dtype::I64, "{name}");
        let values = view
            .data()
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b));
        Some((view.shape().to_vec(), values.collect()))
    }
}

/// One row of a case without its padding.
struct Row {
    index: usize,
    start: usize,
    ids: Vec<u32>,
    images: Vec<Arc<ProcessedImage>>,
}

fn rows(model: &QwenVl, case: &Case) -> Vec<Row> {
    let (shape, ids) = case.ints("input_ids").unwrap();
    let (_, mask) = case.ints("attention_mask").unwrap();
    let grids: Vec<[usize; 3]> = case
        .ints("image_grid_thw")
        .map_or(Vec::new(), |(_, values)| {
            values
                .as_chunks::<3>()
                .0
                .iter()
                .map(|grid| grid.map(|x| x as usize))
                .collect()
        });
    let (pixel_shape, pixels) = case.floats("pixel_values").unwrap_or_default();
    let mut pixels = pixels.as_slice();
    let mut grids = grids.into_iter();
    let mut rebuilt = case.rebuilt.iter();
    let length = shape[1];
    (0..shape[0])
        .map(|index| {
            let mask = &mask[index * length..(index + 1) * length];
            let start = mask.iter().position(|&m| m == 1).unwrap();
            assert!(mask[start..].iter().all(|&m| m == 1), "left padding only");
            let ids: Vec<u32> = ids[index * length + start..(index + 1) * length]
                .iter()
                .map(|&i| i as u32)
                .collect();
            let mut left = ids
                .iter()
                .filter(|&&id| id == model.info().image_token_id)
                .count();
            let mut images = Vec::new();
            while left > 0 {
                let grid = grids.next().unwrap();
                left -= model.image_tokens(grid);
                if let Some(image) = rebuilt.next() {
                    assert_eq!(image.grid, grid);
                    images.push(Arc::clone(image));
                    continue;
                }
                let (own, rest) = pixels.split_at(grid.iter().product::<usize>() * pixel_shape[1]);
                pixels = rest;
                images.push(Arc::new(ProcessedImage::new(own.to_vec(), grid)));
            }
            Row {
                index,
                start,
                ids,
                images,
            }
        })
        .collect()
}

fn differences(found: &[f32], expected: &[f32]) -> Limits {
    assert_eq!(found.len(), expected.len());
    let (mut worst, mut sum) = (0f32, 0f64);
    for (a, b) in found.iter().zip(expected) {
        let difference = (a - b).abs();
        assert!(!difference.is_nan());
        worst = worst.max(difference);
        sum += f64::from(difference);
    }
    let mean = (sum / found.len().max(1) as f64) as f32;
    Limits { worst, mean }
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn greedy(model: &QwenVl, row: &Row, features: Option<&Tensor<2>>, steps: usize) -> Vec<u32> {
    let grids: Vec<_> = row.images.iter().map(|image| image.grid).collect();
    let positions = model.positions(&row.ids, &grids).unwrap();
    let (prompt, last) = row.ids.split_at(row.ids.len() - 1);
    let mut segments = [Segment::prompts(1, prompt.len())];
    let batch = DecoderInput {
        ids: prompt,
        positions: &positions.ids[..prompt.len()],
        image_features: features,
    };
    model.forward(batch, &mut segments, Output::Cache).unwrap();
    let [Segment { cache, .. }] = segments;
    let cache = cache.into_prefix();
    let mut segments = [Segment {
        groups: 1,
        rows: 1,
        len: 1,
        cache,
    }];
    let mut id = last[0];
    let mut position = positions.ids[prompt.len()];
    let mut out = Vec::new();
    for step in 0..steps {
        let batch = DecoderInput {
            ids: &[id],
            positions: &[position],
            image_features: None,
        };
        let hidden = model
            .forward(batch, &mut segments, Output::Hidden)
            .unwrap()
            .unwrap();
        let logits = values(hidden.matmul(model.head()));
        id = (0..logits.len())
            .max_by(|&a, &b| logits[a].total_cmp(&logits[b]))
            .unwrap() as u32;
        position = [positions.next + step as u32; 3];
        out.push(id);
        if model.info().eos_token_ids.contains(&id) {
            break;
        }
    }
    out
}

#[test]
fn every_case_equals_transformers() {
    let root = fixtures();
    let device = device();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut worst: BTreeMap<String, f32> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut models: Vec<_> = fs::read_dir(root.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("info.json").exists())
        .collect();
    models.sort();
    for golden in models {
        let name = golden.file_name().unwrap().to_str().unwrap().to_owned();
        let (dir, dtype) = model_dir(&root, &name);
        // wgpu multiplies no bf16 matrices on devices without cooperative ones, and knows no f64.
        let wgpu = std::env::var("VISRL_DEVICE").as_deref() == Ok("wgpu");
        let dtypes = match dtype {
            ParamDtype::Bf16 if wgpu => {
                println!("{name}: bf16 parameters left out on wgpu");
                continue;
            }
            ParamDtype::F32 if !wgpu => vec![ParamDtype::F32, ParamDtype::F64],
            dtype => vec![dtype],
        };
        let mut cases: Vec<_> = fs::read_dir(&golden)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        cases.sort();
        for dtype in dtypes {
            let config = QwenVlConfig::from_dir(&dir).unwrap();
            let mut source = SafetensorsDir::open(&dir).unwrap();
            let model = QwenVl::with_dtype(config, &mut source, &device, dtype).unwrap();
            *counts.entry(kind(&model)).or_default() += 1;
            for path in &cases {
                let mut case = Case::open(path);
                if case.ints("input_ids").is_none() || case.ints("attention_mask").is_none() {
                    continue;
                }
                let stem = path.file_stem().unwrap().to_str().unwrap();
                let label = format!("{name}/{stem}, {dtype:?}");
                if case.ints("image_grid_thw").is_some() && case.floats("pixel_values").is_none() {
                    // Pixels to be made of the image files by the pipeline that the case is named
                    // after.
                    case.rebuilt = rebuild(&root, &golden, &dir, stem);
                    *counts.entry("from image files").or_default() += 1;
                }
                *counts.entry("cases").or_default() += 1;
                let limits = Limits::of(dtype, &case);
                for (what, found) in check(&model, &case, dtype, &mut counts) {
                    let largest = worst.entry(format!("{dtype:?} {what}")).or_default();
                    *largest = largest.max(found.worst);
                    if found.worst > limits.worst || found.mean > limits.mean {
                        failures.push(format!("{label}: {what} differs by {found:?}, {limits:?}"));
                    }
                }
            }
        }
    }
    println!("model fixtures: {counts:?}");
    println!("largest differences: {worst:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    // Another folder need not have all.
    let own = std::env::var_os("VISRL_FIXTURES").is_none();
    let always = |group: &&str| own || ["cases", "logits"].contains(group);
    let groups = [
        "Qwen2-VL models",
        "Qwen2.5-VL models",
        "Qwen3-VL models",
        "cases",
        "from image files",
        "logits",
        "greedy",
        "position_ids",
        "hidden",
        "visual",
        "deepstack",
    ];
    for group in groups.into_iter().filter(always) {
        assert!(
            counts.get(group).is_some_and(|&count| count > 0),
            "no case checked {group}"
        );
    }
}

/// The folder of the model whose numbers `golden/name` holds, and the number format they were
/// computed in.
fn model_dir(root: &Path, name: &str) -> (PathBuf, ParamDtype) {
    let info = fs::read_to_string(root.join("golden").join(name).join("info.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    let dtype = match info["dtype"].as_str().unwrap().rsplit('.').next() {
        Some("float32") => ParamDtype::F32,
        Some("bfloat16") => ParamDtype::Bf16,
        other => panic!("{name}: dtype {other:?}"),
    };
    let model = info["model"].as_str().unwrap_or(name);
    let dir = [model, name, name.trim_end_matches("-upcast-f32")]
        .map(|name| root.join("models").join(name))
        .into_iter()
        .find(|dir| dir.join("config.json").exists());
    (dir.unwrap_or_else(|| panic!("no model for {name}")), dtype)
}

fn kind(model: &QwenVl) -> &'static str {
    match model.config().kind {
        QwenVlKind::Qwen2 => "Qwen2-VL models",
        QwenVlKind::Qwen2_5 => "Qwen2.5-VL models",
        QwenVlKind::Qwen3 => "Qwen3-VL models",
    }
}

/// Differences from the reference.
#[derive(Clone, Copy, Debug)]
struct Limits {
    worst: f32,
    mean: f32,
}

impl Limits {
    fn of(dtype: ParamDtype, case: &Case) -> Self {
        match dtype {
            // With image files in place of pixel values.
            ParamDtype::F32 | ParamDtype::F64 if !case.rebuilt.is_empty() => Self {
                worst: 2e-4,
                mean: 2e-4,
            },
            ParamDtype::F32 | ParamDtype::F64 => Self {
                worst: 1e-4,
                mean: 1e-4,
            },
            ParamDtype::Bf16 => Self {
                worst: 0.5,
                mean: 0.05,
            },
        }
    }
}

fn check(
    model: &QwenVl,
    case: &Case,
    dtype: ParamDtype,
    counts: &mut BTreeMap<&'static str, usize>,
) -> Vec<(String, Limits)> {
    let mut found = Vec::new();
    let rows = rows(model, case);
    let mut count = |group: &'static str| *counts.entry(group).or_default() += 1;
    let all: Vec<_> = rows.iter().flat_map(|row| row.images.clone()).collect();
    if !all.is_empty() {
        let (last, features) = model.vision_states(&all).unwrap();
        let hidden = model.info().hidden_size;
        let part = |index: usize| features.clone().narrow(1, index * hidden, hidden);
        let deepstack = model.config().vision.deepstack.len();
        let deep = (0..deepstack).map(|i| (format!("visual.deepstack.{i}"), part(1 + i)));
        let main = [("visual.last_hidden", last), ("visual.pooler", part(0))];
        let main = main.map(|(key, tensor)| (key.to_owned(), tensor));
        for (key, tensor) in main.into_iter().chain(deep) {
            if let Some((_, expected)) = case.floats(&key) {
                count(if key.contains("deepstack") {
                    "deepstack"
                } else {
                    "visual"
                });
                found.push((key, differences(&values(tensor), &expected)));
            }
        }
    }
    for row in &rows {
        let features = (!row.images.is_empty()).then(|| model.encode_images(&row.images).unwrap());
        let features = features.as_ref();
        let grids: Vec<_> = row.images.iter().map(|image| image.grid).collect();
        let positions = model.positions(&row.ids, &grids).unwrap();
        let length = row.ids.len();
        let padded = row.start + length;
        let batch_rows = rows.len();
        if let Some((_, expected)) = case.ints("position_ids")
            && !row.images.is_empty()
        {
            count("position_ids");
            for (token, found) in positions.ids.iter().enumerate() {
                for (axis, &value) in found.iter().enumerate() {
                    let at = (axis * batch_rows + row.index) * padded + row.start + token;
                    assert_eq!(i64::from(value), expected[at], "axis {axis} token {token}");
                }
            }
            let (_, deltas) = case.ints("rope_deltas").unwrap();
            assert_eq!(i64::from(positions.next) - length as i64, deltas[row.index]);
        }
        let embedded = model.embed(&row.ids, features).unwrap();
        let embedded = values(embedded.narrow(1, 0, model.info().hidden_size));
        let mut segments = [Segment::prompts(1, length)];
        let batch = DecoderInput {
            ids: &row.ids,
            positions: &positions.ids,
            image_features: features,
        };
        let hidden = model
            .forward(batch, &mut segments, Output::Hidden)
            .unwrap()
            .unwrap();
        let all_logits = values(hidden.clone().matmul(model.head()));
        let last = format!("hidden.{}", model.info().layers);
        for (key, group, found_values) in [
            ("hidden.0", "hidden", embedded),
            (last.as_str(), "hidden", values(hidden)),
            ("logits", "logits", all_logits.clone()),
        ] {
            if let Some((shape, expected)) = case.floats(key) {
                count(group);
                let width = shape[2];
                let from = (row.index * padded + row.start) * width;
                let expected = &expected[from..from + length * width];
                found.push((key.into(), differences(&found_values, expected)));
            }
        }
        // Greedy decoding in bf16 hangs on margins of 0.
        if let Some((shape, expected)) = case.floats("logits_last40") {
            count("logits");
            let (kept, width) = (shape[1], shape[2]);
            let expected = &expected[row.index * kept * width..][..kept * width];
            let logits = &all_logits[(length - kept) * width..];
            found.push(("logits_last40".into(), differences(logits, expected)));
        }
        if let Some((shape, expected)) = case.ints("greedy32")
            && dtype != ParamDtype::Bf16
        {
            count("greedy");
            let steps = shape[1];
            let expected: Vec<u32> = expected[row.index * steps..][..steps]
                .iter()
                .map(|&id| id as u32)
                .collect();
            let out = greedy(model, row, features, steps);
            assert_eq!(out, expected[..out.len()], "greedy");
            assert!(out.len() == steps || model.info().eos_token_ids.contains(&out[out.len() - 1]));
        }
    }
    found
}
