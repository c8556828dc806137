//! Qwen2-VL against transformers' numbers, for every case of the fixtures folder.

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use safetensors::{Dtype, SafeTensors};
use visrl_vlm::{Output, ProcessedImage, Qwen2Vl, Segment, TokenBatch, VisionLanguageModel};

fn fixtures() -> PathBuf {
    std::env::var_os("VISRL_FIXTURES").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures"),
        PathBuf::from,
    )
}

struct Case {
    bytes: Vec<u8>,
}

impl Case {
    fn open(path: &Path) -> Self {
        Self {
            bytes: fs::read(path).unwrap(),
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

fn rows(model: &Qwen2Vl, case: &Case) -> Vec<Row> {
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

fn worst(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    found.iter().zip(expected).fold(0.0, |worst, (a, b)| {
        let difference = (a - b).abs();
        assert!(!difference.is_nan());
        f32::max(worst, difference)
    })
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.try_into_vec_as().unwrap()
}

fn greedy(model: &Qwen2Vl, row: &Row, features: Option<&Tensor<2>>, steps: usize) -> Vec<u32> {
    let grids: Vec<_> = row.images.iter().map(|image| image.grid).collect();
    let positions = model.positions(&row.ids, &grids).unwrap();
    let (prompt, last) = row.ids.split_at(row.ids.len() - 1);
    let mut segments = [Segment::prompts(1, prompt.len())];
    let batch = TokenBatch {
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
        let batch = TokenBatch {
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
    let device = Device::flex();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut failures = Vec::new();
    let mut models: Vec<_> = fs::read_dir(root.join("golden"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("info.json").exists())
        .collect();
    models.sort();
    for golden in models {
        let name = golden.file_name().unwrap().to_str().unwrap().to_owned();
        let Some(dir) = model_dir(&root, &name) else {
            continue;
        };
        let model = Qwen2Vl::from_dir(&dir, &device).unwrap();
        let mut cases: Vec<_> = fs::read_dir(&golden)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "safetensors"))
            .collect();
        cases.sort();
        for path in cases {
            let case = Case::open(&path);
            if case.ints("input_ids").is_none() || case.ints("attention_mask").is_none() {
                continue;
            }
            if case.ints("image_grid_thw").is_some() && case.floats("pixel_values").is_none() {
                continue; // Pixels to be rebuilt from an image: see tests/processor.rs.
            }
            let label = format!("{name}/{}", path.file_stem().unwrap().to_str().unwrap());
            *counts.entry("cases").or_default() += 1;
            for (what, worst, limit) in check(&model, &case, &mut counts) {
                if worst > limit {
                    failures.push(format!("{label}: {what} differs by {worst}, limit {limit}"));
                }
            }
        }
    }
    println!("model fixtures: {counts:?}");
    assert!(failures.is_empty(), "{failures:#?}");
    for group in [
        "cases",
        "logits",
        "greedy",
        "position_ids",
        "hidden",
        "visual",
    ] {
        assert!(
            counts.get(group).is_some_and(|&count| count > 0),
            "no case checked {group}"
        );
    }
}

/// The folder of a model whose numbers `golden/name` holds in f32, if its kind is supported.
fn model_dir(root: &Path, name: &str) -> Option<PathBuf> {
    let info = fs::read_to_string(root.join("golden").join(name).join("info.json")).unwrap();
    let info: serde_json::Value = serde_json::from_str(&info).unwrap();
    if !info["dtype"]
        .as_str()
        .is_some_and(|dtype| dtype.ends_with("float32"))
    {
        return None; // Numbers computed in bf16.
    }
    let model = info["model"].as_str().unwrap_or(name);
    let dir = [model, name, name.trim_end_matches("-upcast-f32")]
        .map(|name| root.join("models").join(name))
        .into_iter()
        .find(|dir| dir.join("config.json").exists())?;
    let config = fs::read_to_string(dir.join("config.json")).unwrap();
    config.contains("\"qwen2_vl\"").then_some(dir)
}

fn check(
    model: &Qwen2Vl,
    case: &Case,
    counts: &mut BTreeMap<&'static str, usize>,
) -> Vec<(String, f32, f32)> {
    let mut found = Vec::new();
    let rows = rows(model, case);
    let mut count = |group: &'static str| *counts.entry(group).or_default() += 1;
    let all: Vec<_> = rows.iter().flat_map(|row| row.images.clone()).collect();
    if !all.is_empty() {
        let (last, pooled) = model.vision_states(&all).unwrap();
        for (key, tensor) in [("visual.last_hidden", last), ("visual.pooler", pooled)] {
            if let Some((_, expected)) = case.floats(key) {
                count("visual");
                found.push((key.into(), worst(&values(tensor), &expected), 1e-4));
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
        let embedded = values(model.embed(&row.ids, features).unwrap());
        let mut segments = [Segment::prompts(1, length)];
        let batch = TokenBatch {
            ids: &row.ids,
            positions: &positions.ids,
            image_features: features,
        };
        let hidden = model
            .forward(batch, &mut segments, Output::Hidden)
            .unwrap()
            .unwrap();
        let logits = values(hidden.clone().matmul(model.head()));
        let last = format!("hidden.{}", model.info().layers);
        for (key, group, found_values) in [
            ("hidden.0", "hidden", embedded),
            (last.as_str(), "hidden", values(hidden)),
            ("logits", "logits", logits),
        ] {
            if let Some((shape, expected)) = case.floats(key) {
                count(group);
                let width = shape[2];
                let from = (row.index * padded + row.start) * width;
                let expected = &expected[from..from + length * width];
                found.push((key.into(), worst(&found_values, expected), 1e-4));
            }
        }
        if let Some((shape, expected)) = case.ints("greedy32") {
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
