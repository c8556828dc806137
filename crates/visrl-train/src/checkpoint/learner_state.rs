//! What a checkpoint holds of a learner: trained parameters, and the optimizer's moments by the
//! names of parameters.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};
use visrl_vlm::{
    NamedParameter, SaveDtype, SaveOptions, TensorToSave, VisionLanguageModel, visit_parameters,
    write_tensors,
};

use crate::error::Error;
use crate::learner::Learner;

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
pub(super) const PARAMETERS: &str = "parameters";
pub(super) const REFERENCE: &str = "reference";
pub(super) const MOMENTS: &str = "moments";
pub(super) const SUFFIXES: [&str; 2] = ["exp_avg", "exp_avg_sq"];
pub(super) const MASTER: &str = "master";

impl<M: VisionLanguageModel> Learner<M> {
    /// Writes the trained parameters into `parameters/`, the moments (and, of parameters in bf16,
    /// the f32 copies) into `moments/`, and a reference that follows the policy into `reference/`,
    /// as safetensors, in the layout in which they are held. All are exact
    /// but those of f64 parameters, which are written as f32.
    ///
    /// # Errors
    /// [`Error::Model`] names the tensor that cannot be read or written.
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
}

/// The trained parameters by their names, with their sizes, the formats of their moments, and
/// (plain) devices.
pub(super) type Trained = BTreeMap<String, (usize, DType, Device)>;

pub(super) fn trained<M: VisionLanguageModel>(model: &M) -> Trained {
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
