//! Where fixtures lie, what they run on, and random batches for their models.

#![allow(dead_code)] // Each test uses a part.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use visrl_core::{Domain, SeedStream, ShuffleRng};
use visrl_train::{Gradients, LearnGroup, TokenGroup};
use visrl_vlm::{ModelInput, ProcessedImage, QwenVl, VisionLanguageModel};

pub(crate) use visrl_testing::fixtures;

/// The device that `VISRL_DEVICE` names: `flex` (the default), or in a build with that feature
/// `wgpu`, `tch` or `tch:N`.
pub(crate) fn device() -> Device {
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

/// The tiny models of the fixtures folder, by name.
pub(crate) fn models() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(fixtures().join("models")).unwrap();
    let mut found: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|dir| dir.join("config.json").exists() && !bf16(dir))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "no model to test with");
    found
}

/// Whether a folder's name says that its numbers were made in bf16.
fn bf16(dir: &Path) -> bool {
    dir.file_name()
        .is_some_and(|name| name.to_string_lossy().contains("bf16"))
}

pub(crate) fn rng(seed: u64) -> ShuffleRng {
    SeedStream::new(seed, Domain::Other(7)).rng()
}

/// The shape of a random group.
#[derive(Clone, Debug)]
pub(crate) struct GroupShape {
    /// Text tokens of the prompt, at least two.
    pub(crate) text: usize,
    /// Height and width of the images in merged patches.
    pub(crate) images: Vec<[usize; 2]>,
    /// Tokens of each completion.
    pub(crate) completions: Vec<usize>,
}

/// A group of random tokens, pixels and advantages.
pub(crate) fn group(model: &QwenVl, shape: &GroupShape, rng: &mut ShuffleRng) -> LearnGroup {
    let vocabulary = text_ids(model);
    let mut text = |count: usize| {
        (0..count)
            .map(|_| vocabulary[rng.below(vocabulary.len())])
            .collect::<Vec<_>>()
    };
    let mut ids = text(shape.text / 2);
    let tail = text(shape.text - shape.text / 2);
    let completions: Vec<Vec<u32>> = shape.completions.iter().map(|&len| text(len)).collect();
    let vision = &model.config().vision;
    let [merge, patch] = [
        vision.merge_size,
        vision.patch_shape().iter().skip(1).product(),
    ];
    let (mut images, mut grids) = (Vec::new(), Vec::new());
    for [height, width] in &shape.images {
        let grid = [1, height * merge, width * merge];
        let pixels = (0..grid[1] * grid[2] * patch).map(|_| rng.normal() as f32);
        images.push(Arc::new(ProcessedImage::new(pixels.collect(), grid)));
        grids.push(grid);
        ids.extend(vec![model.info().image_token_id; model.image_tokens(grid)]);
    }
    ids.extend(tail);
    let positions = model.positions(&ids, &grids).unwrap();
    LearnGroup {
        advantages: completions.iter().map(|_| rng.normal() as f32).collect(),
        truncated: completions.iter().map(|_| rng.below(4) == 0).collect(),
        tokens: TokenGroup {
            input: Arc::new(ModelInput {
                ids,
                images,
                positions,
            }),
            completions: completions.into(),
        },
        sampler_logps: None,
    }
}

/// The ids of a model's vocabulary that stand for text: neither for an image nor for an end.
fn text_ids(model: &QwenVl) -> Vec<u32> {
    let info = model.info();
    let special = |id: &u32| {
        *id == info.image_token_id
            || info.banned_ids.contains(id)
            || info.eos_token_ids.contains(id)
    };
    (0..info.vocab_size as u32)
        .filter(|id| !special(id))
        .collect()
}

/// How far two sets of gradients lie apart: the L2 norm of the difference over that of the second,
/// for the language model's parameters and for all.
pub(crate) fn distance(found: &Gradients, expected: &Gradients) -> [f64; 2] {
    assert_eq!(found.iter().count(), expected.iter().count());
    let numbers = |tensor: &Tensor<1>| -> Vec<f64> { tensor.clone().try_into_vec_as().unwrap() };
    let [mut apart, mut whole] = [[0.0; 2]; 2];
    for (name, expected) in expected.iter() {
        let found = numbers(found.get(name).unwrap());
        for (a, b) in found.into_iter().zip(numbers(expected)) {
            let language = usize::from(name.starts_with("visual."));
            for part in language..2 {
                apart[part] += (a - b).powi(2);
                whole[part] += b.powi(2);
            }
        }
    }
    [0, 1].map(|part: usize| apart[part].sqrt() / whole[part].sqrt().max(f64::MIN_POSITIVE))
}
