//! What a checkpoint holds of a learner: trained parameters, and the optimizer's moments by the
//! names of parameters.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::module::{ModuleMapper, Param};
use burn::tensor::{DType, Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use visrl_vlm::{
    NamedParameter, ParameterPath, SafetensorsDir, SaveDtype, SaveOptions, TensorToSave,
    VisionLanguageModel, WeightSource, visit_parameters, write_tensors,
};

use crate::error::Error;
use crate::learner::Learner;
use crate::optimizer::Moments;

/// The counters of a [`Learner`]; its tensors stand in files beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerState {
    /// Optimizer updates made.
    pub updates: usize,
    /// Updates of each parameter, for the correction of the moments' bias.
    pub times: BTreeMap<String, usize>,
    /// Whether the reference policy follows the policy, so that it was written, too.
    pub reference: bool,
}

/// The folders of the tensors. The suffixes of moments are PyTorch's.
const PARAMETERS: &str = "parameters";
const REFERENCE: &str = "reference";
const MOMENTS: &str = "moments";
const SUFFIXES: [&str; 2] = ["exp_avg", "exp_avg_sq"];
const MASTER: &str = "master";

impl<M: VisionLanguageModel> Learner<M> {
    /// Writes the trained parameters into `parameters/`, the moments (and, of parameters in bf16,
    /// the f32 copies) into `moments/`, and a reference that follows the policy into `reference/`,
    /// as safetensors, in the layout in which they are held. All are exact
    /// but those of f64 parameters, which are written as f32.
    ///
    /// # Errors
    /// What stands in the way of reading or writing a tensor, by name.
    pub fn save_state(&self, dir: &Path) -> Result<LearnerState, Error> {
        let (model, optimizer, updates) = self.parts();
        let trained = trained(model);
        write(&dir.join(PARAMETERS), named(model, &trained))?;
        // A reference that is the base, or the base without its adapters, is made again.
        let follows = self.config().reference_refresh.every.is_some();
        let reference = match self.reference() {
            Some(reference) if follows => named(reference, &trained),
            _ => Vec::new(),
        };
        let has_reference = !reference.is_empty();
        if has_reference {
            write(&dir.join(REFERENCE), reference)?;
        }
        let mut times = BTreeMap::new();
        let mut tensors = Vec::new();
        for (name, moments) in optimizer.moments() {
            times.insert(name.to_owned(), moments.time);
            let values = SUFFIXES.into_iter().zip(moments.values);
            let master = moments.master.map(|values| (MASTER, values));
            for (suffix, values) in values.chain(master) {
                tensors.push((format!("{name}.{suffix}"), values.dims().to_vec(), values));
            }
        }
        write(&dir.join(MOMENTS), tensors)?;
        Ok(LearnerState {
            updates,
            times,
            reference: has_reference,
        })
    }

    /// Puts parameters and moments that [`save_state`](Self::save_state) wrote in the place of the
    /// present ones, and a reference that was written in the place of the present one.
    ///
    /// # Errors
    /// [`Error::Model`] names the tensor that is missing or of another shape; [`Error::File`] when
    /// tensors are those of another set of trained parameters.
    pub fn restore_state(&mut self, dir: &Path, state: &LearnerState) -> Result<(), Error> {
        let (model, ..) = self.parts();
        let trained = trained(model);
        let restored = read(&dir.join(PARAMETERS), model, &trained, true)?;
        let reference = match (self.reference(), state.reference) {
            // What is not trained is the policy's.
            (Some(_), true) => {
                let like = restored.valid();
                Some(read(&dir.join(REFERENCE), &like, &trained, false)?)
            }
            (reference, _) => reference.cloned(),
        };
        let mut moments = Vec::new();
        if !state.times.is_empty() {
            let path = dir.join(MOMENTS);
            let mut source = SafetensorsDir::open(&path)?;
            let masters: BTreeSet<String> = source
                .names()
                .filter_map(|name| name.strip_suffix(&format!(".{MASTER}")))
                .map(String::from)
                .collect();
            for (name, &time) in &state.times {
                let Some((size, dtype, device)) = trained.get(name) else {
                    let message = format!("holds `{name}`, which this run does not train");
                    return Err(Error::file(path, message));
                };
                let mut read = |suffix| -> Result<Tensor<1>, Error> {
                    let read = source.read(&format!("{name}.{suffix}"), &[*size])?;
                    Ok(tensor(read, *dtype, device))
                };
                let values = [read(SUFFIXES[0])?, read(SUFFIXES[1])?];
                let master = masters.contains(name).then(|| read(MASTER)).transpose()?;
                let state = Moments {
                    time,
                    values,
                    master,
                };
                moments.push((name.clone(), state));
            }
        }
        self.restore(restored, reference, state.updates, |optimizer| {
            optimizer.restore(moments);
        });
        Ok(())
    }
}

/// The trained parameters by their names, with their sizes, the formats of their moments, and (plain) devices.
type Trained = BTreeMap<String, (usize, DType, Device)>;

fn trained<M: VisionLanguageModel>(model: &M) -> Trained {
    let mut trained = BTreeMap::new();
    visit_parameters(model, |parameter| {
        if parameter.trainable {
            let size = parameter.shape.iter().product();
            let moments = match parameter.values.dtype() {
                DType::F64 => DType::F64,
                _ => DType::F32,
            };
            trained.insert(parameter.name, (size, moments, parameter.values.device()));
        }
    });
    trained
}

/// The parameters of a model that are trained in the policy.
fn named<M: VisionLanguageModel>(model: &M, trained: &Trained) -> Vec<Named> {
    let mut tensors = Vec::new();
    visit_parameters(model, |parameter| {
        let NamedParameter {
            name,
            shape,
            values,
            ..
        } = parameter;
        if trained.contains_key(&name) {
            tensors.push((name, shape, values));
        }
    });
    tensors
}

/// A model with the parameters of a folder in the place of its own.
fn read<M: VisionLanguageModel>(
    dir: &Path,
    model: &M,
    trained: &Trained,
    policy: bool,
) -> Result<M, Error> {
    let mut source = SafetensorsDir::open(dir)?;
    let mut values = BTreeMap::new();
    let mut failed = None;
    visit_parameters(model, |parameter| {
        if !trained.contains_key(&parameter.name) || failed.is_some() {
            return;
        }
        let (dtype, device) = (parameter.values.dtype(), parameter.values.device());
        match source.read(&parameter.name, &parameter.shape) {
            Ok(read) => {
                values.insert(parameter.name, tensor(read, dtype, &device));
            }
            Err(error) => failed = Some(error),
        }
    });
    if let Some(error) = failed {
        return Err(error.into());
    }
    if let Some(name) = source.names().find(|name| !values.contains_key(*name)) {
        let message = format!("holds `{name}`, which this run does not train");
        return Err(Error::file(dir, message));
    }
    Ok(model.clone().map(&mut Put {
        path: ParameterPath::default(),
        values,
        policy,
    }))
}

fn tensor(values: Vec<f32>, dtype: DType, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, dtype))
}

type Named = (String, Vec<usize>, Tensor<1>);

/// Writes tensors as bf16 when all are, and otherwise as f32, which holds both exactly.
fn write(dir: &Path, tensors: Vec<Named>) -> Result<(), Error> {
    std::fs::create_dir_all(dir).map_err(|source| Error::io(dir, source))?;
    let halves = !tensors.is_empty() && tensors.iter().all(|t| t.2.dtype() == DType::BF16);
    let dtype = match halves {
        true => SaveDtype::Bf16,
        false => SaveDtype::F32,
    };
    let tensors: Vec<TensorToSave<'_>> = tensors
        .into_iter()
        .map(|(name, shape, values)| TensorToSave {
            bytes: Box::new({
                let name = name.clone();
                move |dtype| {
                    let values: Vec<f32> = values.clone().try_into_vec_as().map_err(|error| {
                        visrl_vlm::Error::Weights {
                            path: dir.to_owned(),
                            message: format!("tensor `{name}` cannot be read: {error}"),
                        }
                    })?;
                    let mut bytes = Vec::new();
                    dtype.encode(&values, &mut bytes);
                    Ok(bytes)
                }
            }),
            name,
            shape,
        })
        .collect();
    Ok(write_tensors(dir, &tensors, SaveOptions::from(dtype))?)
}

/// Puts values in the place of parameters by name.
struct Put {
    path: ParameterPath,
    values: BTreeMap<String, Tensor<1>>,
    /// Whether gradients are recorded.
    policy: bool,
}

impl ModuleMapper for Put {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }
    fn exit_module(&mut self, _name: &str, _container: &str) {
        self.path.exit();
    }
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(values) = self.values.remove(&self.path.name()) else {
            return param;
        };
        let (id, old, mapper) = param.consume();
        let tensor = values.reshape(old.dims());
        let tensor = match self.policy {
            true => tensor.autodiff().require_grad(),
            false => tensor,
        };
        Param::from_mapped_value(id, tensor, mapper)
    }
}
