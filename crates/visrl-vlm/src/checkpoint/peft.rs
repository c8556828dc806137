//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};
use visrl_core::files::{Fields, write_dir};

use super::config_files::read_json;
use super::transpose::transpose;
use super::weights::safetensors_dir::SafetensorsDir;
use super::weights::weight_source::WeightSource;
use crate::error::Error;
use crate::layers::lora_linear::Adapter;
use crate::lora::config::{LoraConfig, MAX_RANK, module_name};
use crate::model::vision_language_model::VisionLanguageModel;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// Writes a model's adapters as PEFT's `adapter_config.json` and `adapter_model.safetensors`, whole
/// or not at all. The names are those of transformers 5's modules.
///
/// `base` is what PEFT will say the adapter belongs to: a folder or a name on the hub.
///
/// # Errors
/// [`Error::Adapter`] when the model carries none, [`Error::Weights`] for a factor that cannot be
/// read from its device, and [`Error::File`] with the file that cannot be written.
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
/// [`Error::File`] with the field for an adapter of another kind or with settings that change its
/// meaning and are not supported (DoRA, trained biases, saved modules, ranks or alphas by pattern);
/// [`Error::Adapter`] for a rank, scale or target that fits no layer of the model;
/// [`Error::MissingTensor`] and [`Error::Shape`] for factors that are not there or do not fit their
/// layer, and [`Error::Weights`] for a damaged file or a tensor that belongs to no layer.
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
    let mut left: BTreeSet<String> = source.names().map(str::to_owned).collect();
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
