//! Weights that are drawn, for a checkpoint of any shape.

#![allow(unreachable_pub)]

use std::path::Path;

use visrl::core::{Domain, SeedStream};
use visrl::vlm::qwen_vl::QwenVlKind;
use visrl::vlm::{Error, QwenVlConfig, SaveOptions, TensorToSave, write_tensors};

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
pub fn parameters(config: &QwenVlConfig) -> Vec<(String, Vec<usize>)> {
    let mut all = Parameters::default();
    vision(config, &mut all);
    text(config, &mut all);
    all.0
}

#[derive(Default)]
struct Parameters(Vec<(String, Vec<usize>)>);

impl Parameters {
    fn weight(&mut self, name: &str, shape: &[usize]) {
        self.0.push((format!("{name}.weight"), shape.to_vec()));
    }

    fn with_bias(&mut self, name: &str, shape: &[usize]) {
        self.weight(name, shape);
        self.0.push((format!("{name}.bias"), vec![shape[0]]));
    }
}

fn vision(config: &QwenVlConfig, all: &mut Parameters) {
    let vision = &config.vision;
    let (width, inner) = (vision.embed_dim, vision.intermediate_size);
    let merged = width * vision.merge_size * vision.merge_size;
    let hidden = config.text.hidden_size;
    let third = config.kind == QwenVlKind::Qwen3;
    let root = if third { "model.visual" } else { "visual" };
    let patches = format!("{root}.patch_embed.proj");
    match third {
        true => all.with_bias(&patches, &vision.patch_shape()),
        false => all.weight(&patches, &vision.patch_shape()),
    }
    if let Some(places) = vision.position_embeddings {
        all.weight(&format!("{root}.pos_embed"), &[places, width]);
    }
    for block in 0..vision.depth {
        let name = |part: &str| format!("{root}.blocks.{block}.{part}");
        for part in ["norm1", "norm2"] {
            match config.kind {
                QwenVlKind::Qwen2_5 => all.weight(&name(part), &[width]),
                QwenVlKind::Qwen2 | QwenVlKind::Qwen3 => all.with_bias(&name(part), &[width]),
            }
        }
        all.with_bias(&name("attn.qkv"), &[3 * width, width]);
        all.with_bias(&name("attn.proj"), &[width, width]);
        let parts: &[(&str, bool)] = match config.kind {
            QwenVlKind::Qwen2 => &[("mlp.fc1", true), ("mlp.fc2", false)],
            QwenVlKind::Qwen2_5 => &[
                ("mlp.gate_proj", true),
                ("mlp.up_proj", true),
                ("mlp.down_proj", false),
            ],
            QwenVlKind::Qwen3 => &[("mlp.linear_fc1", true), ("mlp.linear_fc2", false)],
        };
        for (part, widens) in parts {
            let shape = if *widens {
                [inner, width]
            } else {
                [width, inner]
            };
            all.with_bias(&name(part), &shape);
        }
    }
    if !third {
        let norm = format!("{root}.merger.ln_q");
        match config.kind {
            QwenVlKind::Qwen2_5 => all.weight(&norm, &[width]),
            _ => all.with_bias(&norm, &[width]),
        }
        all.with_bias(&format!("{root}.merger.mlp.0"), &[merged, merged]);
        all.with_bias(&format!("{root}.merger.mlp.2"), &[hidden, merged]);
        return;
    }
    let deep = (0..vision.deepstack.len()).map(|i| (format!("deepstack_merger_list.{i}"), merged));
    for (name, norm) in [("merger".to_owned(), width)].into_iter().chain(deep) {
        all.with_bias(&format!("{root}.{name}.norm"), &[norm]);
        all.with_bias(&format!("{root}.{name}.linear_fc1"), &[merged, merged]);
        all.with_bias(&format!("{root}.{name}.linear_fc2"), &[hidden, merged]);
    }
}

fn text(config: &QwenVlConfig, all: &mut Parameters) {
    let text = &config.text;
    let root = match config.kind {
        QwenVlKind::Qwen2 | QwenVlKind::Qwen2_5 => "model",
        QwenVlKind::Qwen3 => "model.language_model",
    };
    let (hidden, inner) = (text.hidden_size, text.intermediate_size);
    let (queries, keys) = (text.heads * text.head_dim, text.kv_heads * text.head_dim);
    all.weight(&format!("{root}.embed_tokens"), &[text.vocab_size, hidden]);
    for layer in 0..text.layers {
        let name = |part: &str| format!("{root}.layers.{layer}.{part}");
        for (part, shape) in [
            ("self_attn.q_proj", [queries, hidden]),
            ("self_attn.k_proj", [keys, hidden]),
            ("self_attn.v_proj", [keys, hidden]),
        ] {
            match text.attention_bias {
                true => all.with_bias(&name(part), &shape),
                false => all.weight(&name(part), &shape),
            }
        }
        all.weight(&name("self_attn.o_proj"), &[hidden, queries]);
        if text.head_norms {
            all.weight(&name("self_attn.q_norm"), &[text.head_dim]);
            all.weight(&name("self_attn.k_norm"), &[text.head_dim]);
        }
        all.weight(&name("mlp.gate_proj"), &[inner, hidden]);
        all.weight(&name("mlp.up_proj"), &[inner, hidden]);
        all.weight(&name("mlp.down_proj"), &[hidden, inner]);
        all.weight(&name("input_layernorm"), &[hidden]);
        all.weight(&name("post_attention_layernorm"), &[hidden]);
    }
    all.weight(&format!("{root}.norm"), &[hidden]);
    if !text.tie_word_embeddings {
        all.weight("lm_head", &[text.vocab_size, hidden]);
    }
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
