//! What a checkpoint holds of a learner: trained parameters, and the optimizer's moments by the
//! names of parameters.

use std::collections::BTreeMap;
use std::path::Path;

use burn::module::{ModuleMapper, Param};
use burn::tensor::{DType, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use visrl_vlm::{
    NamedParameter, ParameterPath, SafetensorsDir, SaveDtype, SaveOptions, TensorToSave,
    VisionLanguageModel, WeightSource, visit_parameters, write_tensors,
};

use crate::optimizer_state::Moments;
use crate::{Error, Learner};

/// The counters of a [`Learner`]; its tensors stand in files beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearnerState {
    /// Optimizer updates made.
    pub updates: usize,
    /// Updates of each parameter, for the correction of the moments' bias.
    pub times: BTreeMap<String, usize>,
}

/// The folders of the tensors. The suffixes of moments are PyTorch's.
const PARAMETERS: &str = "parameters";
const MOMENTS: &str = "moments";
const SUFFIXES: [&str; 2] = ["exp_avg", "exp_avg_sq"];
/// The f32 copy of a parameter of a narrower format.
const MASTER: &str = "master";

impl<M: VisionLanguageModel> Learner<M> {
    /// Writes the trained parameters into `parameters/` and the moments into `moments/`, as
    /// safetensors, in the layout in which they are held. Both are exact.
    ///
    /// # Errors
    /// What stands in the way of reading or writing a tensor, by name.
    pub fn save_state(&self, dir: &Path) -> Result<LearnerState, Error> {
        let (model, optimizer, updates) = self.parts();
        let mut parameters = Vec::new();
        visit_parameters(model, |parameter| {
            if parameter.trainable {
                parameters.push(parameter);
            }
        });
        let tensors = parameters.iter().map(|parameter| {
            let NamedParameter { name, shape, .. } = parameter;
            (name.clone(), shape.clone(), parameter.values.clone())
        });
        write(&dir.join(PARAMETERS), tensors.collect())?;
        let mut times = BTreeMap::new();
        let mut tensors = Vec::new();
        for (name, moments) in optimizer.moments() {
            times.insert(name.to_owned(), moments.time);
            for (suffix, values) in SUFFIXES.iter().zip(moments.values) {
                tensors.push((format!("{name}.{suffix}"), values.dims().to_vec(), values));
            }
            if let Some(master) = moments.master {
                tensors.push((format!("{name}.{MASTER}"), master.dims().to_vec(), master));
            }
        }
        write(&dir.join(MOMENTS), tensors)?;
        Ok(LearnerState { updates, times })
    }

    /// Puts parameters and moments that [`save_state`](Self::save_state) wrote in the place of the
    /// present ones. The reference policy stays as it is.
    ///
    /// # Errors
    /// [`Error::Model`] names the tensor that is missing or of another shape; [`Error::File`] when
    /// tensors are those of another set of trained parameters.
    pub fn restore_state(&mut self, dir: &Path, state: &LearnerState) -> Result<(), Error> {
        let (model, optimizer, updates) = self.parts_mut();
        let parameters = dir.join(PARAMETERS);
        let mut source = SafetensorsDir::open(&parameters)?;
        let mut values = BTreeMap::new();
        let mut sizes = BTreeMap::new();
        let mut failed = None;
        visit_parameters(model, |parameter| {
            if !parameter.trainable || failed.is_some() {
                return;
            }
            let (dtype, device) = (parameter.values.dtype(), parameter.values.device());
            match source.read(&parameter.name, &parameter.shape) {
                Ok(read) => {
                    sizes.insert(parameter.name.clone(), read.len());
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
            return Err(Error::file(parameters, message));
        }
        let mut moments = Vec::new();
        if !state.times.is_empty() {
            let mut source = SafetensorsDir::open(dir.join(MOMENTS))?;
            for (name, &time) in &state.times {
                let Some((&size, like)) = sizes.get(name).zip(values.get(name)) else {
                    let message =
                        format!("holds moments of `{name}`, which this run does not train");
                    return Err(Error::file(dir.join(MOMENTS), message));
                };
                let (dtype, device) = (like.dtype(), like.device());
                let mut read = |suffix| -> Result<Tensor<1>, Error> {
                    let read = source.read(&format!("{name}.{suffix}"), &[size])?;
                    Ok(tensor(read, DType::F32, &device))
                };
                let values = [read(SUFFIXES[0])?, read(SUFFIXES[1])?];
                let master = match dtype {
                    DType::F32 => None,
                    _ => Some(read(MASTER)?),
                };
                let state = Moments {
                    time,
                    values,
                    master,
                };
                moments.push((name.clone(), state));
            }
        }
        *model = model.clone().map(&mut Put {
            path: ParameterPath::default(),
            values,
        });
        optimizer.restore(moments);
        *updates = state.updates;
        Ok(())
    }
}

fn tensor(values: Vec<f32>, dtype: DType, device: &burn::tensor::Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]).convert_dtype(dtype), device)
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
        let tensor = values.reshape(old.dims()).autodiff().require_grad();
        Param::from_mapped_value(id, tensor, mapper)
    }
}
