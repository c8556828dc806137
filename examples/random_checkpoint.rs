//! Writes a checkpoint of random weights, one tensor at a time: a model of any size to measure
//! with, in little memory.
//!
//! `cargo run --release --example random_checkpoint -- --shape qwen2-vl-2b --tokenizer DIR
//! --dtype bf16 --out DIR` makes one of the published shape (4.4 GB), and `--like DIR` one of the
//! shape of another folder.

#![allow(clippy::print_stdout, clippy::print_stderr, unreachable_pub)]

#[allow(dead_code)]
mod common;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use clap::{Parser, ValueEnum};
use visrl::core::{Domain, SeedStream};
use visrl::vlm::processor::Qwen2VlProcessorConfig;
use visrl::vlm::{
    QwenVlConfig, SaveDtype, SaveOptions, TensorToSave, write_dir_atomically, write_tensors,
};

#[derive(Parser, Debug)]
#[command(about = "A checkpoint of random weights in Hugging Face layout")]
struct Cli {
    /// Folder whose config.json and other files are taken.
    #[arg(long, conflicts_with = "shape", required_unless_present = "shape")]
    like: Option<PathBuf>,
    /// A published shape.
    #[arg(long, requires = "tokenizer")]
    shape: Option<Shape>,
    /// Folder with the tokenizer files and the chat template for `--shape`.
    #[arg(long)]
    tokenizer: Option<PathBuf>,
    /// Number format of the weights.
    #[arg(long, default_value = "bf16")]
    dtype: Dtype,
    /// The most gigabytes (10^9 bytes) of a file.
    #[arg(long, default_value_t = 5.0)]
    shard_gb: f64,
    /// Seed of the weights.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The folder to be written.
    #[arg(long)]
    out: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shape {
    #[value(name = "qwen2-vl-2b")]
    Qwen2Vl2b,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Dtype {
    F32,
    Bf16,
    F16,
}

/// `config.json` of Qwen2-VL-2B-Instruct as published.
const QWEN2_VL_2B: &str = r#"{
  "architectures": ["Qwen2VLForConditionalGeneration"],
  "attention_dropout": 0.0,
  "bos_token_id": 151643,
  "eos_token_id": 151645,
  "vision_start_token_id": 151652,
  "vision_end_token_id": 151653,
  "vision_token_id": 151654,
  "image_token_id": 151655,
  "video_token_id": 151656,
  "hidden_act": "silu",
  "hidden_size": 1536,
  "initializer_range": 0.02,
  "intermediate_size": 8960,
  "max_position_embeddings": 32768,
  "max_window_layers": 28,
  "model_type": "qwen2_vl",
  "num_attention_heads": 12,
  "num_hidden_layers": 28,
  "num_key_value_heads": 2,
  "rms_norm_eps": 1e-06,
  "rope_theta": 1000000.0,
  "sliding_window": 32768,
  "tie_word_embeddings": true,
  "torch_dtype": "bfloat16",
  "use_cache": true,
  "use_sliding_window": false,
  "vision_config": {
    "depth": 32,
    "embed_dim": 1280,
    "mlp_ratio": 4,
    "num_heads": 16,
    "in_chans": 3,
    "hidden_size": 1536,
    "patch_size": 14,
    "spatial_merge_size": 2,
    "spatial_patch_size": 14,
    "temporal_patch_size": 2
  },
  "rope_scaling": { "type": "mrope", "mrope_section": [16, 24, 24] },
  "vocab_size": 151936
}
"#;

fn main() -> std::process::ExitCode {
    common::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<(), Box<dyn Error>> {
    if cli.shard_gb.is_nan() || cli.shard_gb <= 0.0 {
        return Err("--shard-gb must be more than 0".into());
    }
    let options = SaveOptions {
        dtype: match cli.dtype {
            Dtype::F32 => SaveDtype::F32,
            Dtype::Bf16 => SaveDtype::Bf16,
            Dtype::F16 => SaveDtype::F16,
        },
        max_shard_bytes: (cli.shard_gb * 1e9) as u64,
    };
    let mut values = 0;
    write_dir_atomically(&cli.out, |new| {
        small_files(&cli, new)?;
        let shapes = parameters(&QwenVlConfig::from_dir(new)?);
        values = shapes.iter().map(|(_, shape)| count(shape)).sum();
        let stream = SeedStream::new(cli.seed, Domain::Init);
        let tensors: Vec<_> = (0u64..)
            .zip(shapes)
            .map(|(index, (name, shape))| random(stream.derive(index), name, shape))
            .collect();
        write_tensors(new, &tensors, options)
    })?;
    println!("{values} parameters in {}", cli.out.display());
    Ok(())
}

/// Everything but the weights.
fn small_files(cli: &Cli, new: &Path) -> Result<(), visrl::vlm::Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| visrl::vlm::Error::Io { path, source }
    };
    let from = cli.like.as_ref().or(cli.tokenizer.as_ref());
    if let Some(dir) = from {
        for entry in fs::read_dir(dir).map_err(failed(dir))? {
            let path = entry.map_err(failed(dir))?.path();
            let name = path.file_name().unwrap_or_default();
            let text = name.to_string_lossy();
            let is_weights = text.contains("safetensors");
            let is_small = ["json", "jinja", "txt"]
                .iter()
                .any(|end| text.ends_with(end));
            if is_small && !is_weights && !text.starts_with("golden") {
                fs::copy(&path, new.join(name)).map_err(failed(&path))?;
            }
        }
    }
    if let Some(Shape::Qwen2Vl2b) = cli.shape {
        let path = new.join("config.json");
        fs::write(&path, QWEN2_VL_2B).map_err(failed(&path))?;
        Qwen2VlProcessorConfig::default().save(new)?;
    }
    Ok(())
}

/// Names and shapes of a model's parameters, in the order of transformers.
fn parameters(config: &QwenVlConfig) -> Vec<(String, Vec<usize>)> {
    let mut all = Vec::new();
    let mut add = |name: String, shape: &[usize]| all.push((name, shape.to_vec()));
    let vision = &config.vision;
    let (width, inner) = (vision.embed_dim, vision.intermediate_size);
    let merged = width * vision.merge_size * vision.merge_size;
    add(
        "visual.patch_embed.proj.weight".into(),
        &vision.patch_shape(),
    );
    for block in 0..vision.depth {
        for (part, shape) in [
            ("norm1", &[width][..]),
            ("norm2", &[width]),
            ("attn.qkv", &[3 * width, width]),
            ("attn.proj", &[width, width]),
            ("mlp.fc1", &[inner, width]),
            ("mlp.fc2", &[width, inner]),
        ] {
            add(format!("visual.blocks.{block}.{part}.weight"), shape);
            add(format!("visual.blocks.{block}.{part}.bias"), &shape[..1]);
        }
    }
    let text = &config.text;
    for (part, shape) in [
        ("ln_q", &[width][..]),
        ("mlp.0", &[merged, merged]),
        ("mlp.2", &[text.hidden_size, merged]),
    ] {
        add(format!("visual.merger.{part}.weight"), shape);
        add(format!("visual.merger.{part}.bias"), &shape[..1]);
    }
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let (queries, keys) = (text.heads * text.head_dim, text.kv_heads * text.head_dim);
    add(
        "model.embed_tokens.weight".into(),
        &[text.vocab_size, hidden],
    );
    for layer in 0..text.layers {
        for (part, shape, bias) in [
            ("self_attn.q_proj", &[queries, hidden][..], true),
            ("self_attn.k_proj", &[keys, hidden], true),
            ("self_attn.v_proj", &[keys, hidden], true),
            ("self_attn.o_proj", &[hidden, queries], false),
            ("mlp.gate_proj", &[inner, hidden], false),
            ("mlp.up_proj", &[inner, hidden], false),
            ("mlp.down_proj", &[hidden, inner], false),
            ("input_layernorm", &[hidden], false),
            ("post_attention_layernorm", &[hidden], false),
        ] {
            add(format!("model.layers.{layer}.{part}.weight"), shape);
            if bias {
                add(format!("model.layers.{layer}.{part}.bias"), &shape[..1]);
            }
        }
    }
    add("model.norm.weight".into(), &[hidden]);
    if !text.tie_word_embeddings {
        add("lm_head.weight".into(), &[text.vocab_size, hidden]);
    }
    all
}

fn count(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Norms are 1 and biases 0; matrices have the variance that keeps the size of what they multiply,
/// embeddings a standard deviation of 0.02.
fn random(stream: SeedStream, name: String, shape: Vec<usize>) -> TensorToSave<'static> {
    let values = count(&shape);
    let constant = match shape.len() {
        1 if name.ends_with("bias") => Some(0.0),
        1 => Some(1.0),
        _ => None,
    };
    let std = match name.contains("embed_tokens") || name.contains("lm_head") {
        true => 0.02,
        false => ((values / shape[0]) as f32).sqrt().recip(),
    };
    TensorToSave {
        name,
        shape,
        bytes: Box::new(move |dtype| {
            let mut bytes = Vec::with_capacity(values * dtype.bytes());
            let mut piece = Vec::new();
            for start in (0..values).step_by(1 << 16) {
                piece.clear();
                let len = (values - start).min(1 << 16);
                match constant {
                    Some(value) => piece.resize(len, value),
                    None => {
                        let pairs = (start / 2..(start + len).div_ceil(2)).flat_map(|pair| {
                            let [a, b, c, d] =
                                stream.bits([pair as u32, (pair >> 32) as u32, 0, 0]);
                            [[a, b], [c, d]].map(|bits| std * nearly_normal(bits))
                        });
                        piece.extend(pairs.take(len));
                    }
                }
                dtype.encode(&piece, &mut bytes);
            }
            Ok(bytes)
        }),
    }
}

/// The sum of four uniform draws of 16 bits, with mean 0 and variance 1.
fn nearly_normal(bits: [u32; 2]) -> f32 {
    let sum: u32 = bits.iter().map(|b| (b & 0xffff) + (b >> 16)).sum();
    // A uniform draw from [-1/2, 1/2) has the variance 1/12.
    (sum as f32 / 65_536.0 - 2.0) * 3f32.sqrt()
}
