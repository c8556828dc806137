//! Which layers get a low-rank adapter (LoRA, arXiv 2106.09685), and its size.

use regex::Regex;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::model::vision_language_model::VisionLanguageModel;

/// The largest rank.
pub(crate) const MAX_RANK: usize = 1 << 14;

/// Which layers get an adapter, and its size; the fields are PEFT's.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// The rank of the adapters.
    pub r: usize,
    /// The product A B is multiplied by `lora_alpha / r`.
    pub lora_alpha: f64,
    /// Multiplies by `lora_alpha / sqrt(r)` instead (rsLoRA, arXiv 2312.03732).
    pub use_rslora: bool,
    /// The layers that get an adapter.
    pub target_modules: TargetModules,
}

/// Layers by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum TargetModules {
    /// Last parts of names: `q_proj`, `mlp.down_proj` or `visual.blocks.0.attn.qkv`.
    Names(Vec<String>),
    /// A regular expression that matches whole names, or `all-linear`: every linear layer but the
    /// head.
    Pattern(String),
}

impl Default for LoraConfig {
    /// Rank 16, alpha 32, on the attention and MLP of the language model.
    fn default() -> Self {
        let parts = ["q", "k", "v", "o", "gate", "up", "down"];
        let names = parts.map(|part| format!("{part}_proj"));
        Self {
            r: 16,
            lora_alpha: 32.0,
            use_rslora: false,
            target_modules: TargetModules::Names(names.to_vec()),
        }
    }
}

impl LoraConfig {
    /// What the product of the factors is multiplied by.
    pub(crate) fn scale(&self) -> f64 {
        let rank = self.r as f64;
        self.lora_alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// The layers of a model that are meant.
    ///
    /// # Errors
    /// [`Error::Adapter`] for a rank of 0, a pattern that does not parse, and any name or pattern
    /// that matches no layer.
    pub fn targets<M: VisionLanguageModel>(&self, model: &mut M) -> Result<Vec<String>, Error> {
        let fault = |message: String| Err(Error::Adapter(message));
        if self.r == 0 || self.r > MAX_RANK {
            return fault(format!("r is {}, expected 1 to {MAX_RANK}", self.r));
        }
        if !(self.lora_alpha.is_finite() && self.lora_alpha != 0.0) {
            let alpha = self.lora_alpha;
            return fault(format!("lora_alpha is {alpha}, which makes no adapter"));
        }
        let mut layers = Vec::new();
        model.each_linear(&mut |name, _| layers.push(name.to_owned()));
        let known = || {
            let mut ends: Vec<_> = layers.iter().filter_map(|n| n.rsplit('.').next()).collect();
            ends.sort_unstable();
            ends.dedup();
            ends.join(", ")
        };
        match &self.target_modules {
            TargetModules::Pattern(pattern) if pattern == "all-linear" => Ok(layers),
            TargetModules::Pattern(pattern) => {
                let regex = Regex::new(&format!("^(?:{pattern})$")).map_err(|error| {
                    Error::Adapter(format!("target_modules `{pattern}`: {error}"))
                })?;
                let matched: Vec<String> = layers
                    .iter()
                    .filter(|name| regex.is_match(name) || regex.is_match(&module_name(name)))
                    .cloned()
                    .collect();
                if matched.is_empty() {
                    return fault(format!(
                        "target_modules `{pattern}` matches no layer; their names end in {}",
                        known()
                    ));
                }
                Ok(matched)
            }
            TargetModules::Names(names) => {
                let hit = |layer: &str, name: &str| {
                    [layer.to_owned(), module_name(layer)].iter().any(|layer| {
                        layer
                            .strip_suffix(name)
                            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    })
                };
                for name in names {
                    if name.is_empty() || !layers.iter().any(|layer| hit(layer, name)) {
                        return fault(format!(
                            "target_modules: `{name}` matches no layer; their names end in {}",
                            known()
                        ));
                    }
                }
                if names.is_empty() {
                    return fault("target_modules names no layer".into());
                }
                layers.retain(|layer| names.iter().any(|name| hit(layer, name)));
                Ok(layers)
            }
        }
    }
}

/// The name of a layer in transformers 5's modules, as PEFT sees it.
pub(crate) fn module_name(hub: &str) -> String {
    if let Some(rest) = hub.strip_prefix("model.") {
        format!("model.language_model.{rest}")
    } else if hub.starts_with("visual.") {
        format!("model.{hub}")
    } else {
        hub.to_owned()
    }
}
