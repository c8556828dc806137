//! Trains the embedded base model from scratch: tokenizer, then vision tower and language model
//! together, on Fashion-MNIST and on pictures drawn by code.
//!
//! Needs the full Fashion-MNIST, for example Debian's package `dataset-fashion-mnist`:
//! `cargo run --release --example pretrain_base -- --out runs/base`

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[path = "../../common/mod.rs"]
#[allow(dead_code)]
mod common;
mod drawing;
mod tasks;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use burn::module::Module;
use clap::Parser;
use serde_json::json;
use visrl::core::{Domain, SeedStream};
use visrl::data::FashionMnist;
use visrl::train::{
    AdamWSettings, Decay, LearnGroup, Learner, LearnerConfig, LearningRateSchedule, SupervisedLoss,
    supervised,
};
use visrl::vlm::chat::QWEN2_VL_CHAT_TEMPLATE;
use visrl::vlm::tokenizer::{Tokenizer, train_bpe};
use visrl::vlm::{FeatureStore, Pretrained, QwenVl, RandomWeights, SaveDtype, VisionLanguageModel};

use tasks::{Mixture, Task, Tasks};

#[derive(Parser, Debug)]
#[command(about = "Trains the embedded base model from scratch")]
struct Cli {
    /// Folder with the full Fashion-MNIST as IDX files.
    #[arg(long, default_value = "/usr/share/datasets/fashion-mnist")]
    data: PathBuf,
    /// Device: auto, flex, cuda:N, tch, tch:N or wgpu.
    #[arg(long, default_value = "flex")]
    device: String,
    /// Seed of everything.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Optimizer steps.
    #[arg(long, default_value_t = 1200)]
    steps: usize,
    /// Tasks per step.
    #[arg(long, default_value_t = 48)]
    batch: usize,
    /// Peak learning rate.
    #[arg(long, default_value_t = 2e-3)]
    learning_rate: f64,
    /// Images of each class that are described.
    #[arg(long, default_value_t = 1000)]
    described: usize,
    /// Images of each class whose names are taught.
    #[arg(long, default_value_t = 1)]
    named: usize,
    /// Share of tasks about drawn pictures.
    #[arg(long, default_value_t = 0.30)]
    drawn: f64,
    /// Share of tasks that describe a thing in words and ask for its name.
    #[arg(long, default_value_t = 0.3)]
    worded: f64,
    /// Share of these whose description leaves several names possible.
    #[arg(long, default_value_t = 0.4)]
    vague: f64,
    /// Share of tasks that name an image of Fashion-MNIST.
    #[arg(long, default_value_t = 0.015)]
    naming: f64,
    /// Where the checkpoint goes.
    #[arg(long, default_value = "runs/base")]
    out: PathBuf,
}

fn main() -> std::process::ExitCode {
    let cli = common::cli::parse();
    common::main(|| run(&cli))
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    common::cli::empty_folder("--out", &cli.out)?;
    let device = visrl::parse_device(&cli.device)?;
    let mixture = Mixture {
        described: cli.described,
        named: cli.named,
        drawn: cli.drawn,
        worded: cli.worded,
        vague: cli.vague,
        naming: cli.naming,
    };
    let tasks = Tasks::new(&FashionMnist::open(&cli.data)?, mixture)?;
    let stream = |number: u64| SeedStream::new(cli.seed, Domain::Init).derive(number).rng();

    let tokenizer = train_bpe(tasks.corpus(&mut stream(0), 4000), VOCABULARY)?;
    write_settings(&cli.out, &tokenizer)?;
    let base = Pretrained::<QwenVl>::with_weights(
        &cli.out,
        &mut RandomWeights::new(stream(1), 0.06),
        &device,
    )?;
    let parameters = parameters(&base.model);
    println!(
        "{parameters} parameters, {} tasks in {} steps",
        cli.steps * cli.batch,
        cli.steps
    );

    let config = LearnerConfig {
        adamw: AdamWSettings {
            betas: [0.9, 0.98],
            epsilon: 1e-8,
            weight_decay: 0.01,
        },
        ..LearnerConfig::default()
    };
    let features = Arc::new(FeatureStore::new(0));
    let mut learner = Learner::new(
        base.model.clone(),
        Box::new(SupervisedLoss),
        features,
        config,
    );
    let schedule = LearningRateSchedule {
        warmup_steps: 50,
        decay: Decay::Cosine,
        floor: 0.05,
        ..LearningRateSchedule::linear(cli.learning_rate, cli.steps)
    };
    let eos = learner.model().info().eos_token_ids[0];
    let encoder = &base.encoder;
    encoder.set_image_capacity(0);
    let mut rng = stream(2);
    let start = Instant::now();
    let mut mean = 0.0;
    for step in 0..cli.steps {
        let drawn: Vec<Task> = (0..cli.batch).map(|_| tasks.draw(&mut rng)).collect();
        let groups = encode(drawn, encoder, learner.model(), eos)?;
        let report = learner.update(&groups, schedule.at(step + 1))?;
        mean += report.loss;
        if (step + 1) % 50 == 0 {
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "step {:5}  loss {:.4}  {seconds:6.0} s",
                step + 1,
                mean / 50.0
            );
            mean = 0.0;
        }
    }
    base.files
        .save(&learner.model().valid(), &cli.out, SaveDtype::F32)?;
    println!("saved to {}", cli.out.display());
    Ok(())
}

fn encode<M: VisionLanguageModel>(
    tasks: Vec<Task>,
    encoder: &visrl::vlm::PromptEncoder,
    model: &M,
    eos: u32,
) -> Result<Vec<LearnGroup>, Box<dyn Error>> {
    let (prompts, targets): (Vec<_>, Vec<_>) = tasks
        .into_iter()
        .map(|task| (Arc::new(task.prompt), task.target))
        .unzip();
    let inputs = encoder.encode_all(model, &prompts)?;
    let mut groups = Vec::with_capacity(targets.len());
    for (input, target) in inputs.into_iter().zip(targets) {
        let mut tokens = encoder.tokenizer().encode(&target)?;
        tokens.push(eos);
        groups.push(supervised(input, tokens));
    }
    Ok(groups)
}

fn parameters(model: &QwenVl) -> usize {
    let mut count = 0;
    visrl::vlm::visit_parameters(model, |p| count += p.shape.iter().product::<usize>());
    count
}

/// Tokens of the tokenizer at most; the model has a few more, as the real one has.
const VOCABULARY: usize = 683;

/// Writes everything of the checkpoint but its weights.
fn write_settings(dir: &Path, tokenizer_json: &str) -> Result<(), Box<dyn Error>> {
    let tokenizer = Tokenizer::from_json(tokenizer_json)?;
    let id = |token: &str| tokenizer.token_id(token).ok_or(format!("no token {token}"));
    let config = json!({
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "attention_dropout": 0.0,
        "bos_token_id": id("<|endoftext|>")?,
        "eos_token_id": id("<|im_end|>")?,
        "vision_start_token_id": id("<|vision_start|>")?,
        "vision_end_token_id": id("<|vision_end|>")?,
        "vision_token_id": id("<|vision_pad|>")?,
        "image_token_id": id("<|image_pad|>")?,
        "video_token_id": id("<|video_pad|>")?,
        "hidden_act": "silu",
        "hidden_size": 96,
        "initializer_range": 0.06,
        "intermediate_size": 256,
        "max_position_embeddings": 4096,
        "max_window_layers": 3,
        "num_attention_heads": 3,
        "num_hidden_layers": 3,
        "num_key_value_heads": 1,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1000000.0,
        "sliding_window": 4096,
        "use_sliding_window": false,
        "tie_word_embeddings": true,
        "torch_dtype": "float32",
        "use_cache": true,
        "vision_config": {
            "depth": 2,
            "embed_dim": 64,
            "mlp_ratio": 4,
            "num_heads": 2,
            "in_chans": 3,
            "in_channels": 3,
            "hidden_size": 96,
            "patch_size": 14,
            "spatial_merge_size": 2,
            "spatial_patch_size": 14,
            "temporal_patch_size": 2
        },
        "rope_scaling": { "type": "mrope", "mrope_section": [4, 6, 6] },
        "vocab_size": (tokenizer.vocab_size() + 5).next_multiple_of(16)
    });
    let generation = json!({
        "bos_token_id": id("<|endoftext|>")?,
        "pad_token_id": id("<|endoftext|>")?,
        "eos_token_id": [id("<|im_end|>")?, id("<|endoftext|>")?]
    });
    let preprocessor = json!({
        "min_pixels": 3136,
        "max_pixels": 3136,
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "image_processor_type": "Qwen2VLImageProcessor",
        "processor_class": "Qwen2VLProcessor"
    });
    let tokenizer_config = json!({
        "tokenizer_class": "Qwen2Tokenizer",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": null,
        "unk_token": null,
        "add_prefix_space": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 4096,
        "chat_template": QWEN2_VL_CHAT_TEMPLATE
    });
    std::fs::create_dir_all(dir)?;
    for (name, value) in [
        ("config.json", config),
        ("generation_config.json", generation),
        ("preprocessor_config.json", preprocessor),
        ("tokenizer_config.json", tokenizer_config),
        (
            "chat_template.json",
            json!({ "chat_template": QWEN2_VL_CHAT_TEMPLATE }),
        ),
    ] {
        visrl::core::files::write_file(
            &dir.join(name),
            serde_json::to_string_pretty(&value)?.as_bytes(),
        )?;
    }
    visrl::core::files::write_file(&dir.join("tokenizer.json"), tokenizer_json.as_bytes())?;
    Ok(())
}
