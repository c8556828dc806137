//! Low-rank adapters (LoRA, arXiv 2106.09685) in PEFT's format.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};
use regex::Regex;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use visrl_core::ShuffleRng;

use crate::build::transpose;
use visrl_core::files::{Fields, write_dir};

use crate::config::read_json;
use crate::{Adapter, Error, SafetensorsDir, VisionLanguageModel, WeightSource};

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const MAX_RANK: usize = 1 << 14;

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
    fn scale(&self) -> f64 {
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

/// Attaches new adapters, which change nothing yet: A is drawn from U(-1/sqrt(in), 1/sqrt(in)), as
/// PEFT draws it, and B is 0.
///
/// # Errors
/// [`Error::Adapter`] as for [`LoraConfig::targets`].
pub fn attach_lora<M: VisionLanguageModel>(
    mut model: M,
    config: &LoraConfig,
    mut rng: ShuffleRng,
) -> Result<M, Error> {
    let targets = config.targets(&mut model)?;
    let scale = config.scale();
    model.each_linear(&mut |name, dense| {
        if !targets.iter().any(|target| target == name) {
            return;
        }
        let weight = dense.weight.val().without_autodiff();
        let ([d_in, d_out], device) = (weight.dims(), weight.device());
        let bound = 1.0 / (d_in as f64).sqrt();
        let values: Vec<f32> = (0..d_in * config.r)
            .map(|_| ((2.0 * rng.uniform() - 1.0) * bound) as f32)
            .collect();
        let a = Tensor::<2>::from_data(TensorData::new(values, [d_in, config.r]), &device);
        let b = Tensor::<2>::zeros([config.r, d_out], &device);
        let (a, b) = (a.cast(weight.dtype()), b.cast(weight.dtype()));
        dense.set_adapter(Some(Adapter { a, b, scale }));
    });
    Ok(model)
}

/// Takes all adapters away; the model shares its weights with the one given.
#[must_use]
pub fn without_lora<M: VisionLanguageModel>(mut model: M) -> M {
    model.each_linear(&mut |_, dense| dense.set_adapter(None));
    model
}

/// Adds all adapters to their weights: a model of the plain form with the same output.
#[must_use]
pub fn merge_lora<M: VisionLanguageModel>(mut model: M) -> M {
    model.each_linear(&mut |_, dense| dense.merge_adapter());
    model
}

/// Writes a model's adapters as PEFT's `adapter_config.json` and `adapter_model.safetensors`, whole
/// or not at all. The names are those of transformers 5's modules.
///
/// `base` is what PEFT will say the adapter belongs to: a folder or a name on the hub.
///
/// # Errors
/// [`Error::Adapter`] when the model carries none, otherwise [`Error::File`] or [`Error::Weights`]
/// with the path.
pub fn save_lora<M: VisionLanguageModel>(
    model: &M,
    config: &LoraConfig,
    base: &str,
    dir: impl AsRef<Path>,
) -> Result<(), Error> {
    let path = dir.as_ref().join(WEIGHTS);
    let weights = |message: String| Error::Weights {
        path: path.clone(),
        message,
    };
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut failure = None;
    let mut put = |name: String, tensor: Tensor<2>| {
        let [rows, columns] = tensor.dims();
        match tensor.cast(DType::F32).try_into_vec_as::<f32>() {
            Ok(values) => {
                let values = transpose(&values, rows, columns);
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                tensors.insert(name, (vec![columns, rows], bytes));
            }
            Err(error) => failure = Some(format!("tensor `{name}` cannot be read: {error}")),
        }
    };
    model.clone().each_linear(&mut |name, dense| {
        if let Some(Adapter { a, b, .. }) = dense.adapter() {
            let name = format!("base_model.model.{}", module_name(name));
            put(format!("{name}.lora_A.weight"), a);
            put(format!("{name}.lora_B.weight"), b);
        }
    });
    if let Some(message) = failure {
        return Err(weights(message));
    }
    if tensors.is_empty() {
        return Err(Error::Adapter("the model carries no adapter".into()));
    }
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?))
        })
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| weights(error.to_string()))?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|error| weights(error.to_string()))?;
    let text = serde_json::to_vec_pretty(&json!({
        "peft_type": "LORA",
        "task_type": null,
        "base_model_name_or_path": base,
        "r": config.r,
        "lora_alpha": config.lora_alpha,
        "use_rslora": config.use_rslora,
        "target_modules": config.target_modules,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "init_lora_weights": true,
        "modules_to_save": null,
        "rank_pattern": {},
        "alpha_pattern": {},
    }))
    .map_err(|error| weights(error.to_string()))?;
    write_dir(dir.as_ref(), |new| {
        for (name, bytes) in [(WEIGHTS, &bytes), (CONFIG, &text)] {
            let path = new.join(name);
            fs::write(&path, bytes).map_err(|source| Error::io(&path, source))?;
        }
        Ok(())
    })
}

/// Reads an adapter in PEFT's format and attaches it.
///
/// # Errors
/// A typed error that names the file and the field or tensor: an adapter of another kind, settings
/// that change its meaning and are not supported (DoRA, trained biases, saved modules, ranks or
/// alphas by pattern), shapes that do not fit the model, and tensors that belong to no layer.
pub fn load_lora<M: VisionLanguageModel>(
    model: M,
    dir: impl AsRef<Path>,
) -> Result<(M, LoraConfig), Error> {
    let dir = dir.as_ref();
    let path = dir.join(CONFIG);
    let raw = read_json(&path)?;
    let config = read_config(&path, &raw)?;
    let mut model = model;
    let targets = config.targets(&mut model)?;
    let mut source = SafetensorsDir::open_files(dir, &[WEIGHTS])?;
    let mut left: std::collections::BTreeSet<String> = source.names().map(str::to_owned).collect();
    let scale = config.scale();
    let mut failure = None;
    model.each_linear(&mut |name, dense| {
        if failure.is_some() || !targets.iter().any(|target| target == name) {
            return;
        }
        let weight = dense.weight.val().without_autodiff();
        let [d_in, d_out] = weight.dims();
        let mut read = |factor: &str, [rows, columns]: [usize; 2]| {
            let candidates = [name.to_owned(), module_name(name)]
                .map(|layer| format!("base_model.model.{layer}.{factor}.weight"));
            let found = candidates.iter().find(|name| left.contains(*name));
            let tensor = found.unwrap_or(&candidates[1]).clone();
            left.remove(&tensor);
            let values = source.read(&tensor, &[rows, columns])?;
            let data = TensorData::new(transpose(&values, rows, columns), [columns, rows]);
            Ok(Tensor::<2>::from_data(data, &weight.device()).cast(weight.dtype()))
        };
        let factors = read("lora_A", [config.r, d_in])
            .and_then(|a| Ok((a, read("lora_B", [d_out, config.r])?)));
        match factors {
            Ok((a, b)) => dense.set_adapter(Some(Adapter { a, b, scale })),
            Err(error) => failure = Some(error),
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    if let Some(tensor) = left.first() {
        return Err(Error::Weights {
            path: dir.join(WEIGHTS),
            message: format!("tensor `{tensor}` belongs to no layer that {CONFIG} names"),
        });
    }
    Ok((model, config))
}

fn read_config(path: &Path, raw: &Value) -> Result<LoraConfig, Error> {
    let fields = Fields::new(path, "", raw);
    let kind: String = fields.required("peft_type")?;
    if kind != "LORA" {
        return Err(fields.error("peft_type", format!("is `{kind}`, expected `LORA`")));
    }
    for field in ["use_dora", "fan_in_fan_out", "use_qalora"] {
        if fields.optional::<bool>(field)?.unwrap_or(false) {
            return Err(fields.error(field, "is true, which is not supported"));
        }
    }
    let bias = fields.optional::<String>("bias")?;
    if let Some(bias) = bias.filter(|bias| bias != "none") {
        return Err(fields.error("bias", format!("is `{bias}`, expected `none`")));
    }
    for field in [
        "rank_pattern",
        "alpha_pattern",
        "modules_to_save",
        "layers_to_transform",
        "exclude_modules",
        "target_parameters",
        "trainable_token_indices",
    ] {
        let empty = match raw.get(field) {
            None | Some(Value::Null) => true,
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            Some(_) => false,
        };
        if !empty {
            return Err(fields.error(field, "is set, which is not supported"));
        }
    }
    Ok(LoraConfig {
        r: fields.size("r", MAX_RANK)?,
        lora_alpha: fields.required("lora_alpha")?,
        use_rslora: fields.optional("use_rslora")?.unwrap_or(false),
        target_modules: fields.required("target_modules")?,
    })
}

/// The name of a layer in transformers 5's modules, as PEFT sees it.
fn module_name(hub: &str) -> String {
    if let Some(rest) = hub.strip_prefix("model.") {
        format!("model.language_model.{rest}")
    } else if hub.starts_with("visual.") {
        format!("model.{hub}")
    } else {
        hub.to_owned()
    }
}
