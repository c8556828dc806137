//! Floating point operations of a Qwen2-VL, counted from its shape: 2 for each multiplication in a
//! matrix product, nothing for the rest.

use serde_json::Value;

/// What the counts depend on.
#[derive(Debug)]
pub struct Shape {
    hidden: f64,
    mlp: f64,
    layers: f64,
    query: f64,
    kv: f64,
    vocab: f64,
    patch: f64,
    width: f64,
    inner: f64,
    depth: f64,
}

impl Shape {
    /// From a checkpoint's `config.json`.
    pub fn read(config: &Value) -> Option<Self> {
        let number = |value: &Value, name: &str| value[name].as_f64();
        let vision = &config["vision_config"];
        let hidden = number(config, "hidden_size")?;
        let heads = number(config, "num_attention_heads")?;
        let width = number(vision, "embed_dim")?;
        let side = number(vision, "patch_size").unwrap_or(14.0);
        Some(Self {
            hidden,
            mlp: number(config, "intermediate_size")?,
            layers: number(config, "num_hidden_layers")?,
            query: hidden,
            kv: hidden / heads * number(config, "num_key_value_heads")?,
            vocab: number(config, "vocab_size")?,
            patch: 3.0 * 2.0 * side * side,
            width,
            inner: width * number(vision, "mlp_ratio").unwrap_or(4.0),
            depth: number(vision, "depth")?,
        })
    }

    /// The vision tower on an image of this many patches.
    pub fn vision(&self, patches: usize) -> f64 {
        let n = patches as f64;
        let Self {
            width: w, inner, ..
        } = *self;
        let block = n * (4.0 * w * w + 2.0 * w * inner) + 2.0 * n * n * w;
        let merged = 4.0 * w;
        let merger = n / 4.0 * (merged * merged + merged * self.hidden);
        2.0 * (n * self.patch * w + self.depth * block + merger)
    }

    /// The decoder on `tokens` new tokens behind `past` others, without the head.
    pub fn decoder(&self, tokens: usize, past: usize) -> f64 {
        let n = tokens as f64;
        let (h, q, kv) = (self.hidden, self.query, self.kv);
        let weights = n * (2.0 * h * q + 2.0 * h * kv + 3.0 * h * self.mlp);
        let seen = n * past as f64 + n * (n + 1.0) / 2.0;
        2.0 * self.layers * (weights + 2.0 * seen * q)
    }

    /// A prompt's keys and values: of the last layer nothing else is computed.
    pub fn prompt(&self, tokens: usize) -> f64 {
        let share = (self.layers - 1.0) / self.layers;
        share * self.decoder(tokens, 0) + 4.0 * tokens as f64 * self.hidden * self.kv
    }

    /// The head on this many tokens.
    pub fn head(&self, tokens: usize) -> f64 {
        2.0 * tokens as f64 * self.hidden * self.vocab
    }
}
