//! Floating point operations of a Qwen-VL, counted from its shape: 2 for each multiplication in a
//! matrix product, nothing for the rest.

use visrl::vlm::qwen_vl::{QwenVlConfig, QwenVlKind};

/// What the counts depend on.
#[derive(Debug)]
pub struct Shape<'a>(pub &'a QwenVlConfig);

impl Shape<'_> {
    /// The vision tower on an image of this many patches.
    pub fn vision(&self, patches: usize) -> f64 {
        let (config, n) = (&self.0.vision, patches as f64);
        let number = |value: usize| value as f64;
        let (w, inner) = (number(config.embed_dim), number(config.intermediate_size));
        let patch = config.channels * config.temporal_patch_size * config.patch_size.pow(2);
        let merged = config.merge_size.pow(2);
        // Qwen2.5-VL's MLP is gated.
        let products = match self.0.kind {
            QwenVlKind::Qwen2_5 => 3.0,
            QwenVlKind::Qwen2 | QwenVlKind::Qwen3 => 2.0,
        };
        let weights = n * (4.0 * w * w + products * w * inner);
        // What a patch sees: all others, or those of its window.
        let mut seen = number(config.depth) * n;
        if let Some(windows) = &config.windows {
            let full = number(windows.full_blocks.len());
            let window = number(windows.side.pow(2) * merged).min(n);
            seen = full * n + (number(config.depth) - full) * window;
        }
        let wide = number(merged) * w;
        let merger = n / number(merged) * (wide * wide + wide * number(self.0.text.hidden_size));
        let mergers = 1.0 + number(config.deepstack.len());
        let blocks = number(config.depth) * weights + 2.0 * n * seen * w;
        2.0 * (n * number(patch) * w + blocks + mergers * merger)
    }

    /// Widths of the residual stream, of queries, and of keys.
    fn widths(&self) -> [f64; 3] {
        let text = &self.0.text;
        let query = text.heads * text.head_dim;
        let kv = text.kv_heads * text.head_dim;
        [text.hidden_size, query, kv].map(|width| width as f64)
    }

    /// The decoder on `tokens` new tokens behind `past` others, without the head.
    pub fn decoder(&self, tokens: usize, past: usize) -> f64 {
        let (n, text) = (tokens as f64, &self.0.text);
        let [h, q, kv] = self.widths();
        let mlp = text.intermediate_size as f64;
        let weights = n * (2.0 * h * q + 2.0 * h * kv + 3.0 * h * mlp);
        let seen = n * past as f64 + n * (n + 1.0) / 2.0;
        2.0 * text.layers as f64 * (weights + 2.0 * seen * q)
    }

    /// A prompt's keys and values: of the last layer nothing else is computed.
    pub fn prompt(&self, tokens: usize) -> f64 {
        let layers = self.0.text.layers as f64;
        let [hidden, _, kv] = self.widths();
        let share = (layers - 1.0) / layers;
        share * self.decoder(tokens, 0) + 4.0 * tokens as f64 * hidden * kv
    }

    /// The head on this many tokens.
    pub fn head(&self, tokens: usize) -> f64 {
        let text = &self.0.text;
        2.0 * tokens as f64 * text.hidden_size as f64 * text.vocab_size as f64
    }
}
