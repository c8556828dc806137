//! Weights that are drawn, for a checkpoint of any shape.

#![allow(unreachable_pub)]

use std::path::Path;

use visrl::core::{Domain, SeedStream};
use visrl::vlm::{Error, QwenVlConfig, SaveOptions, TensorToSave, write_tensors};

/// `config.json` of Qwen2-VL-2B-Instruct as published.
pub const QWEN2_VL_2B: &str = r#"{
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

/// Writes random weights beside a folder's `config.json`, one tensor at a time, and gives the
/// number of their values.
pub fn random_weights(dir: &Path, seed: u64, options: SaveOptions) -> Result<usize, Error> {
    let shapes = parameters(&QwenVlConfig::from_dir(dir)?);
    let values = shapes.iter().map(|(_, shape)| count(shape)).sum();
    let stream = SeedStream::new(seed, Domain::Init);
    let tensors: Vec<_> = (0u64..)
        .zip(shapes)
        .map(|(index, (name, shape))| random(stream.derive(index), name, shape))
        .collect();
    write_tensors(dir, &tensors, options)?;
    Ok(values)
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
