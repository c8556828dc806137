//! Adapters in PEFT's format: `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use burn::tensor::{DType, Tensor, TensorData};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use visrl_core::files::{FileError, write_dir};
use visrl_core::warn_once;

use super::config_files::read_json;
use super::peft_config;
use super::saved_modules;
use super::transpose::transpose;
use super::weights::safetensors_dir::SafetensorsDir;
use super::weights::weight_source::WeightSource;
use crate::error::Error;
use crate::layers::lora_linear::Adapter;
use crate::lora::config::{LoraConfig, layer_names};
use crate::lora::targets::{Naming, Target, by_modules, module_name, pick};
use crate::model::vision_language_model::VisionLanguageModel;

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";
const MAGNITUDE: &str = "lora_magnitude_vector";

/// Writes a model's adapters as PEFT's `adapter_config.json` and `adapter_model.safetensors`, whole
/// or not at all, with the modules of `modules_to_save`. The names are those of transformers 5's
/// modules; a configuration that means them by older names is written layer by layer.
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
    let mut put = |name: String, tensor: Tensor<2>, axes: usize| {
        let [rows, columns] = tensor.dims();
        match tensor.cast(DType::F32).try_into_vec_as::<f32>() {
            Ok(values) => {
                let values = transpose(&values, rows, columns);
                let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                tensors.insert(name, ([columns, rows][2 - axes..].to_vec(), bytes));
            }
            Err(error) => failure = Some(format!("tensor `{name}` cannot be read: {error}")),
        }
    };
    model.clone().each_linear(&mut |name, dense| {
        if let Some(adapter) = dense.adapter() {
            let name = format!("base_model.model.{}", module_name(name));
            put(format!("{name}.lora_A.weight"), adapter.a, 2);
            put(format!("{name}.lora_B.weight"), adapter.b, 2);
            if let Some(magnitude) = adapter.magnitude {
                put(format!("{name}.{MAGNITUDE}"), magnitude.unsqueeze_dim(1), 1);
            }
        }
    });
    if let Some(message) = failure {
        return Err(weights(message));
    }
    if tensors.is_empty() {
        return Err(Error::Adapter("the model carries no adapter".into()));
    }
    saved_modules::write(model, &config.modules_to_save, &mut tensors).map_err(weights)?;
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
    let config = as_modules(model, config);
    let text = serde_json::to_vec_pretty(&peft_config::write(&config, base))
        .map_err(|error| weights(error.to_string()))?;
    write_dir(dir.as_ref(), |new| {
        for (name, bytes) in [(WEIGHTS, &bytes), (CONFIG, &text)] {
            let path = new.join(name);
            fs::write(&path, bytes).map_err(|source| Error::io(&path, source))?;
        }
        Ok(())
    })
}

/// A configuration that means a model's adapters by the names of transformers 5's modules: as it is,
/// or, where it was for other names, layer by layer.
fn as_modules<M: VisionLanguageModel>(model: &M, config: &LoraConfig) -> LoraConfig {
    let (mut layers, mut carried) = (Vec::new(), Vec::new());
    model.clone().each_linear(&mut |name, dense| {
        layers.push(name.to_owned());
        if let Some(Adapter { a, scale, .. }) = dense.adapter() {
            carried.push(Target {
                name: name.to_owned(),
                rank: a.dims()[1],
                scale,
            });
        }
    });
    match pick(config, &layers, Naming::ModulesAlone) {
        Ok(picked) if picked.targets == carried => config.clone(),
        _ => by_modules(config, &carried),
    }
}

/// Reads an adapter in PEFT's format and attaches it; modules that were trained whole beside it
/// (`modules_to_save`) take the places of the model's.
///
/// Modules are meant by the names that the tensors in the file have, which are those of the version
/// of transformers that it was trained with. Names in `target_modules` that mean no layer, those of
/// `rank_pattern` and `alpha_pattern` that mean no target, and options that are not known, are told
/// in warnings.
///
/// # Errors
/// [`Error::File`] with `adapter_config.json` and the field: an adapter of another kind, options that
/// change its meaning and are not supported (trained biases and others), an
/// initialisation that changes the base (PiSSA and others), and a rank, scale or target that fits no
/// layer of the model; [`Error::MissingTensor`] and [`Error::Shape`] for factors that are not there or
/// do not fit their layer, and [`Error::Weights`] for a damaged file or a tensor that belongs to no
/// layer.
pub fn load_lora<M: VisionLanguageModel>(
    model: M,
    dir: impl AsRef<Path>,
) -> Result<(M, LoraConfig), Error> {
    let dir = dir.as_ref();
    let path = dir.join(CONFIG);
    let raw = read_json(&path)?;
    let config = peft_config::read(&path, &raw)?;
    let mut model = model;
    let layers = layer_names(&mut model);
    let mut source = open(dir)?;
    let mut left: BTreeSet<String> = source.names().map(str::to_owned).collect();
    let picked = pick(&config, &layers, naming(&left))
        .map_err(|fault| Error::field(&path, fault.field, fault.message))?;
    for name in &picked.without_layer {
        let message = format!("`{name}` matches no layer of the model");
        warn_once(FileError::field(&path, "target_modules", message).to_string());
    }
    for (field, key) in &picked.without_target {
        let message = format!("`{key}` is the name of no layer with an adapter and has no effect");
        warn_once(FileError::field(&path, field, message).to_string());
    }
    let targets = picked.targets.iter();
    let targets: BTreeMap<_, _> = targets
        .map(|target| (target.name.as_str(), target))
        .collect();
    let mut failure = None;
    model.each_linear(&mut |name, dense| {
        let Some(target) = targets.get(name).filter(|_| failure.is_none()) else {
            return;
        };
        let weight = dense.weight.val().without_autodiff();
        let ([d_in, d_out], rank) = (weight.dims(), target.rank);
        let mut read = |factor: &str, [rows, columns]: [usize; 2]| {
            let tensor = take(&mut left, dir, name, &format!("{factor}.weight"))?;
            let shape = source.shape(&tensor).unwrap_or_default().to_vec();
            let found = if factor == "lora_A" {
                shape.first()
            } else {
                shape.get(1)
            };
            if let Some(found) = found.filter(|found| **found != rank) {
                let field = if rank == config.r {
                    "r"
                } else {
                    "rank_pattern"
                };
                let message = format!("gives {rank}, but `{tensor}` of {WEIGHTS} has rank {found}");
                return Err(Error::field(&path, field, message));
            }
            // The factors of a convolution over patches are those of a linear layer over their values.
            let is_same = shape.first() == Some(&rows)
                && shape
                    .iter()
                    .skip(1)
                    .try_fold(1usize, |n, &side| n.checked_mul(side))
                    == Some(columns);
            let shape = if is_same { shape } else { vec![rows, columns] };
            let values = source.read(&tensor, &shape)?;
            let data = TensorData::new(transpose(&values, rows, columns), [columns, rows]);
            Ok(Tensor::<2>::from_data(data, &weight.device()).cast(weight.dtype()))
        };
        let factors =
            read("lora_A", [rank, d_in]).and_then(|a| Ok((a, read("lora_B", [d_out, rank])?)));
        let mut read_magnitude = || -> Result<Option<Tensor<1>>, Error> {
            if !config.use_dora {
                return Ok(None);
            }
            let tensor = take(&mut left, dir, name, MAGNITUDE)?;
            let shape = source.shape(&tensor).unwrap_or_default().to_vec();
            // That of a convolution has more axes.
            let is_same = shape.iter().product::<usize>() == d_out;
            let shape = if is_same { shape } else { vec![d_out] };
            let values = source.read(&tensor, &shape)?;
            let data = TensorData::new(values, [d_out]);
            let magnitude = Tensor::<1>::from_data(data, &weight.device());
            Ok(Some(magnitude.cast(weight.dtype())))
        };
        match factors.and_then(|(a, b)| Ok((a, b, read_magnitude()?))) {
            Ok((a, b, magnitude)) => {
                let scale = target.scale;
                dense.set_adapter(Some(Adapter {
                    a,
                    b,
                    scale,
                    magnitude,
                }));
            }
            Err(error) => failure = Some(error),
        }
    });
    if let Some(error) = failure {
        return Err(error);
    }
    let files = [path.as_path(), &dir.join(WEIGHTS)];
    let model = saved_modules::read(
        model,
        &config.modules_to_save,
        (&mut source, &mut left),
        files,
    )?;
    if let Some(tensor) = left.first() {
        return Err(Error::Weights {
            path: dir.join(WEIGHTS),
            message: format!("tensor `{tensor}` belongs to no layer that {CONFIG} names"),
        });
    }
    Ok((model, config))
}

/// The name of a layer's tensor in a file, taken out of those that are left.
fn take(
    left: &mut BTreeSet<String>,
    dir: &Path,
    layer: &str,
    tensor: &str,
) -> Result<String, Error> {
    let [hub, module] = [layer.to_owned(), module_name(layer)]
        .map(|layer| format!("base_model.model.{layer}.{tensor}"));
    let name = if left.contains(&hub) { hub } else { module };
    match left.take(&name) {
        Some(name) => Ok(name),
        None => Err(Error::MissingTensor {
            path: dir.join(WEIGHTS),
            tensor: name,
        }),
    }
}

/// The factors of an adapter.
fn open(dir: &Path) -> Result<SafetensorsDir, Error> {
    let pickle = dir.join("adapter_model.bin");
    if !dir.join(WEIGHTS).exists() && pickle.exists() {
        let message = "is of PyTorch's format, which is not read; save the adapter as safetensors";
        return Err(Error::Weights {
            path: pickle,
            message: message.into(),
        });
    }
    SafetensorsDir::open_files(dir, &[WEIGHTS])
}

/// What the modules were called where the adapter was trained, by the names of its tensors.
fn naming(tensors: &BTreeSet<String>) -> Naming {
    const OF_MODULES: [&str; 2] = [
        "base_model.model.model.language_model.",
        "base_model.model.model.visual.",
    ];
    let is_of_modules = |name: &String| OF_MODULES.iter().any(|prefix| name.starts_with(prefix));
    match tensors.is_empty() || tensors.iter().any(is_of_modules) {
        true => Naming::Modules,
        false => Naming::Hub,
    }
}
