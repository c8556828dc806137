//! What LibTorch is asked for in a training step and in a decode step: the host gives a device one
//! operation after another, so that on a GPU their number is what a step costs. Random weights in the
//! shape of real models' layers, only narrow, on the device of `VISRL_DEVICE` or the CPU.

#[path = "../examples/tools/random_weights.rs"]
mod random_weights;

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use burn::tensor::Device;
use random_weights::random_weights;
use serde_json::json;
use tempfile::TempDir;
use visrl::core::{Domain, ImageSource, Prompt, SeedStream};
use visrl::grpo::GrpoLoss;
use visrl::kernels::{OperatorRecord, OperatorRecording};
use visrl::parse_device;
use visrl::rollout::{
    EngineConfig, EngineKind, GroupRequest, LocalEngine, RolloutEngine, SamplingParams,
};
use visrl::train::{LearnGroup, Learner, LearnerConfig, TokenGroup};
use visrl::vlm::{
    FeatureStore, LoadOptions, ParamDtype, Pretrained, QwenVl, SaveDtype, SaveOptions,
};

/// Completions of each prompt.
const COMPLETIONS: usize = 8;

/// Recordings are of all threads, so that one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// What a model consists of, besides its width.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// The fixtures' model that it is one of the family of.
    like: &'static str,
    layers: usize,
    blocks: usize,
    vocab: usize,
}

/// Layers and blocks of Qwen2-VL-2B, Qwen2.5-VL-7B and Qwen3-VL-2B.
const DEEP: [Shape; 3] = [
    Shape {
        like: "tiny-tied",
        layers: 28,
        blocks: 32,
        vocab: 624,
    },
    Shape {
        like: "tiny-qwen2_5-vl",
        layers: 28,
        blocks: 32,
        vocab: 624,
    },
    Shape {
        like: "tiny-qwen3-vl",
        layers: 28,
        blocks: 24,
        vocab: 640,
    },
];

fn device() -> Device {
    let name = std::env::var("VISRL_DEVICE").unwrap_or_else(|_| "tch".into());
    parse_device(&name).unwrap()
}

/// A checkpoint of random weights, 64 wide.
fn checkpoint(shape: Shape) -> TempDir {
    let dir = TempDir::new().unwrap();
    let like = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(std::env::var_os("VISRL_FIXTURES").unwrap_or_else(|| "tests/fixtures".into()))
        .join("models")
        .join(shape.like);
    for entry in fs::read_dir(&like).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ending| ending == "json") {
            fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    let path = dir.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["vision_config"]["depth"] = json!(shape.blocks);
    // Those that the families' models have.
    let vision = &mut config["vision_config"];
    if vision.get("fullatt_block_indexes").is_some() {
        let full: Vec<usize> = (7..shape.blocks).step_by(8).collect();
        vision["fullatt_block_indexes"] = json!(full);
    }
    if vision.get("deepstack_visual_indexes").is_some() {
        let deep: Vec<usize> = (1..4).map(|part| part * shape.blocks / 4 - 1).collect();
        vision["deepstack_visual_indexes"] = json!(deep);
    }
    // An id that is never drawn ends a row, so that none ends early.
    let end = config["video_token_id"].clone();
    let text = match config.get("text_config") {
        Some(_) => &mut config["text_config"],
        None => &mut config,
    };
    text["eos_token_id"] = end;
    text["num_hidden_layers"] = json!(shape.layers);
    text["vocab_size"] = json!(shape.vocab);
    if text.get("max_window_layers").is_some() {
        text["max_window_layers"] = json!(shape.layers);
    }
    fs::remove_file(dir.path().join("generation_config.json")).unwrap();
    fs::write(&path, config.to_string()).unwrap();
    let options = SaveOptions {
        dtype: SaveDtype::F32,
        ..SaveOptions::default()
    };
    random_weights(dir.path(), 1, options).unwrap();
    dir
}

fn load(shape: Shape, dtype: ParamDtype) -> Pretrained<QwenVl> {
    let options = LoadOptions {
        dtype,
        ..LoadOptions::default()
    };
    Pretrained::load_with(checkpoint(shape).path(), &device(), &options).unwrap()
}

/// The side of images, in pixels.
const SIDE: usize = 56;

/// Questions about images.
fn prompts(count: usize, side: usize) -> Vec<Arc<Prompt>> {
    let prompt = |index: usize| {
        let image = ImageSource::Rgb {
            name: format!("image {index}").into(),
            width: side as u32,
            height: side as u32,
            pixels: (0..3 * side * side)
                .map(|i| ((i + index) % 251) as u8)
                .collect(),
        };
        Arc::new(Prompt::user(
            format!("prompt {index}"),
            image,
            "What is in the photo?",
        ))
    };
    (0..count).map(prompt).collect()
}

/// A training step, and what it reads of images in a model's format.
struct TrainingStep {
    record: OperatorRecord,
    pixel_bytes: u64,
}

/// A GRPO step on 8 completions of 32 tokens of each prompt: reference, forward, backward, clipping
/// and AdamW.
fn training_step(shape: Shape, dtype: ParamDtype, groups: usize, side: usize) -> TrainingStep {
    let base = load(shape, dtype);
    let mut rng = SeedStream::new(1, Domain::Other(1)).rng();
    // The first step makes the moments; the images of the second one are new.
    let inputs = base
        .encoder
        .encode_all(&base.model, &prompts(2 * groups, side))
        .unwrap();
    let all: Vec<LearnGroup> = inputs
        .into_iter()
        .map(|input| LearnGroup {
            tokens: TokenGroup {
                input,
                completions: (0..COMPLETIONS)
                    .map(|_| (0..32).map(|_| rng.below(600) as u32).collect::<Vec<_>>())
                    .collect(),
            },
            advantages: (0..COMPLETIONS).map(|_| rng.normal() as f32).collect(),
            truncated: vec![false; COMPLETIONS],
            sampler_logps: None,
        })
        .collect();
    let (first, second) = all.split_at(groups);
    let features = Arc::new(FeatureStore::new(0));
    let loss = Box::new(GrpoLoss::default());
    let mut learner = Learner::new(base.model, loss, features, LearnerConfig::default());
    learner.update(first, 1e-6).unwrap();
    let recording = OperatorRecording::start();
    learner.update(second, 1e-6).unwrap();
    let images = second.iter().flat_map(|group| &group.tokens.input.images);
    let pixels: usize = images.map(|image| image.pixel_values.len()).sum();
    let size = match dtype {
        ParamDtype::F32 => 4,
        _ => 2,
    };
    TrainingStep {
        record: recording.finish(),
        pixel_bytes: (size * pixels) as u64,
    }
}

/// What a decode step of 8 completions of each prompt consists of.
#[derive(Debug, PartialEq)]
struct DecodeStep {
    calls: f64,
    bytes_up: f64,
    bytes_down: f64,
}

/// The engine for devices, with top-k 50 as by default: the mean of 16 steps.
fn decode_step(shape: Shape, dtype: ParamDtype, groups: usize) -> DecodeStep {
    const STEPS: usize = 16;
    let base = load(shape, dtype);
    let prompts = prompts(groups, SIDE);
    let inputs = base.encoder.encode_all(&base.model, &prompts).unwrap();
    let config = EngineConfig {
        engine: EngineKind::Device,
        ..EngineConfig::default()
    };
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    let features = Arc::new(FeatureStore::new(groups));
    let mut engine = LocalEngine::new(&base.model, tokenizer, features, config);
    let mut run = |tokens: usize| {
        let requests: Vec<GroupRequest> = (0u32..)
            .zip(prompts.iter().zip(&inputs))
            .map(|(index, (prompt, input))| GroupRequest {
                prompt: Arc::clone(prompt),
                input: Arc::clone(input),
                num_generations: COMPLETIONS,
                sampling: SamplingParams {
                    max_new_tokens: tokens,
                    ..SamplingParams::default()
                },
                stream: SeedStream::new(1, Domain::Sampling),
                step: 0,
                index,
                choices: None,
                cancel: Default::default(),
            })
            .collect();
        let recording = OperatorRecording::start();
        let sampled = engine.generate(&requests).unwrap();
        let record = recording.finish();
        // No row ends early, so that all steps are alike.
        let rows = sampled.iter().flat_map(|group| &group.completions);
        rows.for_each(|row| assert_eq!(row.tokens.len(), tokens));
        record
    };
    run(1);
    let [first, all] = [1, 1 + STEPS].map(&mut run);
    let each = |more: u64, less: u64| (more - less) as f64 / STEPS as f64;
    DecodeStep {
        calls: each(all.calls(), first.calls()),
        bytes_up: each(all.bytes_up, first.bytes_up),
        bytes_down: each(all.bytes_down, first.bytes_down),
    }
}

#[test]
fn calls_of_a_training_step_are_bounded() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for shape in DEEP {
        for dtype in [ParamDtype::F32, ParamDtype::Bf16] {
            let record = training_step(shape, dtype, 1, SIDE).record;
            println!("{}, {dtype:?}: {} calls", shape.like, record.calls());
            assert!(record.calls() <= 8_000, "{shape:?}, {dtype:?}: {record:#?}");
        }
    }
}

/// Calls of a training step of Qwen2.5-VL with images of windows of several sizes.
#[test]
fn calls_do_not_grow_with_the_number_of_windows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let calls = |side| {
        training_step(DEEP[1], ParamDtype::F32, 1, side)
            .record
            .calls()
    };
    let [few, many] = [168, 280].map(calls);
    println!("4 windows: {few} calls, 9 windows: {many} calls");
    assert_eq!(few, many);
    assert!(many <= 8_500, "{many}");
}

#[test]
fn calls_of_a_decode_step_are_bounded_and_do_not_grow_with_rows() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    for shape in DEEP {
        for dtype in [ParamDtype::F32, ParamDtype::Bf16] {
            let case = format!("{}, {dtype:?}", shape.like);
            let [few, many] = [8, 32].map(|groups| decode_step(shape, dtype, groups));
            println!("{case}: 64 rows {few:?}, 256 rows {many:?}");
            assert!(few.calls <= 900.0, "{case}: {few:?}");
            assert_eq!(few.calls, many.calls, "{case}");
            // A row's three numbers and the one it is drawn by, four that come of it.
            assert_eq!(few.bytes_up, 64.0 * 32.0, "{case}");
            assert_eq!(few.bytes_down, 64.0 * 16.0, "{case}");
        }
    }
}

#[test]
fn what_crosses_to_the_device_does_not_grow_with_layers_or_the_vocabulary() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let small = Shape {
        layers: 2,
        blocks: 2,
        ..DEEP[0]
    };
    let deep = Shape {
        layers: 4,
        blocks: 4,
        ..small
    };
    let wordy = Shape {
        vocab: 1248,
        ..small
    };
    for dtype in [ParamDtype::F32, ParamDtype::Bf16] {
        let bytes = |shape| {
            let step = training_step(shape, dtype, 2, SIDE);
            // Pixels go up once, in the format that is computed in; what else does is a fraction.
            let up = step.record.bytes_up;
            println!(
                "{dtype:?}: {up} bytes up, {} of them pixels",
                step.pixel_bytes
            );
            assert!(up > step.pixel_bytes, "{dtype:?}: {up}");
            assert!(up < 2 * step.pixel_bytes, "{dtype:?}: {up}");
            [up, step.record.bytes_down]
        };
        let expected = bytes(small);
        assert!(expected.iter().all(|&bytes| bytes > 0), "{dtype:?}");
        assert_eq!(bytes(deep), expected, "{dtype:?}: layers");
        assert_eq!(bytes(wordy), expected, "{dtype:?}: vocabulary");
        let bytes = |shape| {
            let step = decode_step(shape, dtype, 2);
            [step.bytes_up, step.bytes_down]
        };
        let expected = bytes(small);
        println!("{dtype:?}: a decode step {expected:?} bytes up and down");
        assert!(expected.iter().all(|&bytes| bytes > 0.0), "{dtype:?}");
        assert_eq!(bytes(deep), expected, "{dtype:?}: layers");
        assert_eq!(bytes(wordy), expected, "{dtype:?}: vocabulary");
    }
}
