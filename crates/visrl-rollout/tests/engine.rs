//! Both engines against transformers' `generate`, for every f32 model of the fixtures folder:
//! each prompt alone, and all of them together in groups of several sizes.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use safetensors::SafeTensors;
use serde_json::{Value, json};
use visrl_core::{Completion, Content, Domain, ImageSource, Message, Prompt, Role};
use visrl_core::{SeedStream, StopReason};
use visrl_image::{ImagePipeline, Qwen2VlProcessor, Qwen2VlProcessorConfig};
use visrl_rollout::{
    EngineConfig, EngineKind, GroupRequest, LocalEngine, RolloutEngine, SamplingParams,
};
use visrl_testing::{fixtures, numbers, rows};
use visrl_vlm::{FeatureStore, ModelInput, ProcessedImage, Processor, QwenVl, Tokenizer};
use visrl_vlm::{VisionLanguageModel, read_json};

/// The device that `VISRL_DEVICE` names: `flex` (the default), or in a build with that feature `tch`
/// or `tch:N`.
fn device() -> Device {
    match std::env::var("VISRL_DEVICE").as_deref() {
        Err(_) | Ok("flex") => Device::flex(),
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

fn list(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    paths
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Option<(Vec<usize>, Vec<f32>)> {
    let (shape, values) = numbers(file, name)?;
    Some((
        shape,
        values.into_iter().map(|value| value as f32).collect(),
    ))
}

/// Whole numbers, none of them negative, as rows of the last axis.
fn ints(file: &SafeTensors<'_>, name: &str) -> Option<Vec<Vec<u32>>> {
    let row = |row: Vec<f64>| row.into_iter().map(|value| value as u32).collect();
    Some(rows(file, name)?.into_iter().map(row).collect())
}

/// A checkpoint with the numbers computed from it.
struct Fixture {
    name: String,
    golden: PathBuf,
    dir: PathBuf,
    info: Value,
}

/// The models whose numbers are f32 and whose kind is supported.
fn models(root: &Path) -> Vec<Fixture> {
    let mut found = Vec::new();
    for golden in list(&root.join("golden")) {
        let Ok(info) = read_json(&golden.join("info.json")) else {
            continue;
        };
        let name = golden.file_name().unwrap().to_str().unwrap().to_owned();
        let dir = [info["model"].as_str().unwrap_or(&name), &name]
            .map(|name| root.join("models").join(name))
            .into_iter()
            .find(|dir| dir.join("config.json").exists());
        let f32_numbers = info["dtype"]
            .as_str()
            .is_some_and(|dtype| dtype.ends_with("float32"));
        if let (true, Some(dir)) = (f32_numbers, dir) {
            found.push(Fixture {
                name,
                golden,
                dir,
                info,
            });
        }
    }
    found
}

/// Images of a case in which no pixels are stored: the paper's pipeline on the files.
fn prepare(root: &Path, fixture: &Fixture, case: &Value) -> Option<Vec<Arc<ProcessedImage>>> {
    let mut config = Qwen2VlProcessorConfig::from_dir(&fixture.dir).unwrap();
    config.pipeline = ImagePipeline::default();
    if let Some(pixels) = case["max_pixels"].as_u64() {
        config.max_pixels = pixels as usize;
    }
    let processor = Qwen2VlProcessor::new(config).unwrap();
    let files = case["images"].as_array()?.iter();
    let files: Vec<_> = files
        .map(|name| root.join("images").join(name.as_str().unwrap()))
        .collect();
    if files.is_empty() || !files.iter().all(|file| file.exists()) {
        return None;
    }
    let images = files
        .iter()
        .map(|file| processor.process(&ImageSource::path(file)).unwrap());
    Some(images.map(Arc::new).collect())
}

/// What is to be sampled and what comes out.
struct Task {
    label: String,
    kind: &'static str,
    input: Arc<ModelInput>,
    sampling: SamplingParams,
    /// Up to the end token.
    tokens: Vec<u32>,
    /// The reference penalises the padding in front of this prompt, too.
    penalised_pad: Option<u32>,
    /// Logits of the first steps.
    logits: Vec<Vec<f32>>,
}

/// The prompts of a case without their padding; nothing when its images are missing.
fn inputs(
    root: &Path,
    fixture: &Fixture,
    model: &QwenVl,
    case: &SafeTensors<'_>,
    info: &Value,
) -> Option<Vec<(Arc<ModelInput>, bool)>> {
    let (ids, mask) = (ints(case, "input_ids")?, ints(case, "attention_mask")?);
    let grids = ints(case, "image_grid_thw").unwrap_or_default();
    let grids = grids
        .iter()
        .map(|grid| [grid[0], grid[1], grid[2]].map(|side| side as usize));
    let images: Vec<Arc<ProcessedImage>> = match floats(case, "pixel_values") {
        Some((shape, pixels)) => {
            let mut pixels = pixels.as_slice();
            let image = |grid: [usize; 3]| {
                let own = pixels
                    .split_off(..grid.iter().product::<usize>() * shape[1])
                    .unwrap();
                Arc::new(ProcessedImage::new(own.to_vec(), grid))
            };
            grids.map(image).collect()
        }
        None if grids.len() == 0 => Vec::new(),
        None => {
            let images = prepare(root, fixture, info)?;
            assert!(images.iter().map(|image| image.grid).eq(grids), "grids");
            images
        }
    };
    let mut images = images.into_iter();
    let one = |(ids, mask): (Vec<u32>, Vec<u32>)| {
        let start = mask.iter().position(|&real| real == 1).unwrap();
        assert!(
            mask[start..].iter().all(|&real| real == 1),
            "padding on the left only"
        );
        let ids = ids[start..].to_vec();
        let mut left = ids
            .iter()
            .filter(|&&id| id == model.info().image_token_id)
            .count();
        let mut own = Vec::new();
        while left > 0 {
            let image: Arc<ProcessedImage> = images.next().unwrap();
            left -= model.image_tokens(image.grid);
            own.push(image);
        }
        let grids: Vec<_> = own.iter().map(|image| image.grid).collect();
        let positions = model.positions(&ids, &grids).unwrap();
        (
            Arc::new(ModelInput {
                ids,
                images: own,
                positions,
            }),
            start > 0,
        )
    };
    Some(ids.into_iter().zip(mask).map(one).collect())
}

/// All that was generated from a model, with the ids that end a completion in the tasks: the
/// checkpoint's own ones or, where given, others.
fn tasks(root: &Path, fixture: &Fixture, model: &QwenVl) -> Vec<(Option<Vec<u32>>, Task)> {
    let mut tasks = Vec::new();
    for path in list(&fixture.golden) {
        if path
            .extension()
            .is_none_or(|extension| extension != "safetensors")
        {
            continue;
        }
        let bytes = fs::read(&path).unwrap();
        let case = SafeTensors::deserialize(&bytes).unwrap();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let info = &fixture.info["cases"][stem];
        let Some(inputs) = inputs(root, fixture, model, &case, info) else {
            continue;
        };
        for name in case.names() {
            let Some((steps, variant)) = name.strip_prefix("greedy").and_then(|rest| {
                let digits = rest
                    .find(|c: char| !c.is_ascii_digit())
                    .unwrap_or(rest.len());
                Some((rest[..digits].parse().ok()?, &rest[digits..]))
            }) else {
                continue;
            };
            let Some(tokens) = ints(&case, name) else {
                continue;
            };
            let mut sampling = SamplingParams::greedy(steps);
            let mut eos = None;
            let kind = if variant.is_empty() {
                "greedy"
            } else if variant == "_custom_eos" {
                let ids = serde_json::from_value(info["custom_eos"].clone()).unwrap();
                eos = Some(ids);
                "custom end tokens"
            } else if let Some(penalty) = variant.strip_prefix("_reppen") {
                sampling.repetition_penalty = penalty.parse().unwrap();
                "repetition penalty"
            } else {
                continue;
            };
            let ends = eos.as_ref().unwrap_or(&model.info().eos_token_ids);
            let logits = floats(&case, &format!("{name}_step_logits_first4"));
            for (row, ((input, padded), tokens)) in inputs.iter().zip(tokens).enumerate() {
                let end = tokens.iter().position(|id| ends.contains(id));
                let len = end.map_or(tokens.len(), |end| end + 1);
                let logits = logits.as_ref().map_or(Vec::new(), |(shape, values)| {
                    let own = values.chunks(shape[1] * shape[2]).nth(row).unwrap();
                    own.chunks(shape[2]).map(<[f32]>::to_vec).collect()
                });
                let penalised = *padded && sampling.repetition_penalty != 1.0;
                let pad = fixture.info["pad"].as_u64().map(|pad| pad as u32);
                let task = Task {
                    label: format!("{}/{stem} {name} row {row}", fixture.name),
                    kind,
                    input: Arc::clone(input),
                    sampling: sampling.clone(),
                    tokens: tokens[..len].to_vec(),
                    penalised_pad: pad.filter(|_| penalised),
                    logits,
                };
                tasks.push((eos.clone(), task));
            }
        }
    }
    tasks
}

/// Compares a completion and returns how many of its tokens could be.
fn compare(model: &QwenVl, task: &Task, found: &Completion, how: &str) -> usize {
    let label = format!("{} ({how})", task.label);
    let info = model.info();
    assert_eq!(found.tokens.len(), found.logprobs.len(), "{label}");
    for (step, (token, logprob)) in found.tokens.iter().zip(&found.logprobs).enumerate() {
        assert!(
            *logprob <= 0.0,
            "{label}: log-probability {logprob} of token {step}"
        );
        assert!(!info.banned_ids.contains(token), "{label}: sampled {token}");
    }
    for (step, &expected) in task.tokens.iter().enumerate() {
        let token = found.tokens.get(step).copied();
        // The reference samples ids that the engine does not, and penalises the padding in front
        // of a prompt. From there on the texts differ.
        let padding = task.penalised_pad.is_some() && token == task.penalised_pad;
        if info.banned_ids.contains(&expected) || (padding && token != Some(expected)) {
            return step;
        }
        assert_eq!(token, Some(expected), "{label}: token {step}");
        if let Some(logits) = task.logits.get(step) {
            let logit = |id: usize| f64::from(logits[id]);
            let own = logit(expected as usize);
            let sum: f64 = (0..logits.len()).map(|id| (logit(id) - own).exp()).sum();
            let difference = (f64::from(found.logprobs[step]) + sum.ln()).abs();
            assert!(
                difference < 1e-4,
                "{label}: log-probability {step} differs by {difference}"
            );
        }
    }
    assert_eq!(found.tokens.len(), task.tokens.len(), "{label}");
    let ended = task
        .tokens
        .last()
        .is_some_and(|id| info.eos_token_ids.contains(id));
    let stop = if ended {
        StopReason::Eos
    } else {
        StopReason::MaxTokens
    };
    assert_eq!(found.stop, stop, "{label}");
    task.tokens.len()
}

fn request(task: &Task, num_generations: usize, index: u32) -> GroupRequest {
    let content = vec![Content::Text(task.label.clone())];
    let messages = vec![Message {
        role: Role::User,
        content,
    }];
    GroupRequest {
        prompt: Arc::new(Prompt {
            id: task.label.clone(),
            messages,
        }),
        input: Arc::clone(&task.input),
        num_generations,
        sampling: task.sampling.clone(),
        stream: SeedStream::new(1, Domain::Sampling),
        step: 0,
        index,
        choices: None,
        cancel: Default::default(),
    }
}

/// Runs tasks alone and together; counts tokens compared.
fn check(model: &QwenVl, dir: &Path, tasks: &[Task], kind: EngineKind) -> usize {
    let tokenizer = Arc::new(Tokenizer::from_dir(dir).unwrap());
    let engine = |config| {
        let features = Arc::new(FeatureStore::new(64));
        LocalEngine::new(model, Arc::clone(&tokenizer), features, config)
    };
    let config = EngineConfig {
        engine: kind,
        ..EngineConfig::default()
    };
    let mut tokens = 0;
    let mut alone = engine(config.clone());
    assert_eq!(
        matches!(alone, LocalEngine::Device(_)),
        kind == EngineKind::Device
    );
    for (index, task) in (0..).zip(tasks) {
        let groups = alone.generate(&[request(task, 1, index)]).unwrap();
        assert_eq!((groups.len(), groups[0].len()), (1, 1));
        let completion = &groups[0].completions[0];
        tokens += compare(model, task, completion, "alone");
        assert_eq!(completion.text, tokenizer.decode(&completion.tokens, true));
    }
    // Together with one another and with prompts that are sampled at temperature 1, in few and in
    // many batches.
    let narrow = EngineConfig {
        max_sequences: 5,
        max_prefill_tokens: 300,
        ..config.clone()
    };
    for (how, config) in [("together", config), ("few at a time", narrow)] {
        let mut requests = Vec::new();
        for (index, task) in (0u32..).zip(tasks) {
            requests.push(request(task, 1 + index as usize % 3, index));
            let mut other = request(task, 2, index);
            other.sampling = SamplingParams {
                max_new_tokens: 9,
                ..SamplingParams::default()
            };
            requests.push(other);
        }
        if how == "together" {
            requests.rotate_left(2 * (tasks.len() / 2));
        }
        let groups = engine(config).generate(&requests).unwrap();
        assert_eq!(groups.len(), requests.len());
        for (request, group) in requests.iter().zip(&groups) {
            assert!(Arc::ptr_eq(&group.prompt, &request.prompt));
            assert_eq!(group.len(), request.num_generations);
            if request.sampling.temperature == 0.0 {
                let task = &tasks[request.index as usize];
                for completion in &group.completions {
                    tokens += compare(model, task, completion, how);
                }
            }
        }
    }
    tokens
}

/// A copy of a checkpoint with other end tokens.
fn with_end_tokens(dir: &Path, ids: &[u32]) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in list(dir).into_iter().filter(|path| path.is_file()) {
        // Not a copy of the file, whose permissions may forbid writing.
        fs::write(
            copy.path().join(file.file_name().unwrap()),
            fs::read(&file).unwrap(),
        )
        .unwrap();
    }
    let config = json!({ "eos_token_id": ids }).to_string();
    fs::write(copy.path().join("generation_config.json"), config).unwrap();
    copy
}

#[test]
fn greedy_completions_equal_transformers_alone_and_in_mixed_batches() {
    let root = fixtures();
    let device = device();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for fixture in models(&root) {
        let model = QwenVl::from_dir(&fixture.dir, &device).unwrap();
        let mut by_eos: BTreeMap<Option<Vec<u32>>, Vec<Task>> = BTreeMap::new();
        for (eos, task) in tasks(&root, &fixture, &model) {
            *counts.entry(task.kind).or_default() += 1;
            by_eos.entry(eos).or_default().push(task);
        }
        *counts.entry("models").or_default() += 1;
        for (eos, tasks) in by_eos {
            let dir = eos.map(|ids| with_end_tokens(&fixture.dir, &ids));
            let dir = dir.as_ref().map_or(fixture.dir.as_path(), |dir| dir.path());
            let model = QwenVl::from_dir(dir, &device).unwrap();
            for kind in [EngineKind::Native, EngineKind::Device] {
                *counts.entry("tokens").or_default() += check(&model, dir, &tasks, kind);
            }
        }
    }
    println!("engine fixtures: {counts:?}");
    for what in ["models", "greedy", "tokens"] {
        assert!(
            counts.get(what).is_some_and(|&count| count > 0),
            "no case checked {what}"
        );
    }
}
