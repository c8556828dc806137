//! A learner that goes on where a checkpoint was written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{DType, Device, Tensor, TensorData};
use visrl_vlm::{
    NamedParameter, SafetensorsDir, VisionLanguageModel, WeightSource, map_parameters,
    visit_parameters,
};

use super::learner_state::{
    LearnerState, MASTER, MOMENTS, PARAMETERS, REFERENCE, SUFFIXES, Trained, trained,
};
use crate::error::Error;
use crate::learner::Learner;
use crate::optimizer::Moments;

impl<M: VisionLanguageModel> Learner<M> {
    /// Puts parameters and moments that [`save_state`](Self::save_state) wrote in the place of the
    /// present ones, and a reference that was written in the place of the present one.
    ///
    /// # Errors
    /// [`Error::Model`] names the tensor that is missing or of another shape; [`Error::File`] when
    /// tensors are those of another set of trained parameters.
    pub fn restore_state(&mut self, dir: &Path, state: &LearnerState) -> Result<(), Error> {
        let (model, ..) = self.parts();
        let trained = trained(model);
        let restored = read(&dir.join(PARAMETERS), model, &trained)?;
        let reference = match (self.reference(), state.reference) {
            // What is not trained is the policy's.
            (Some(_), true) => {
                let like = restored.valid();
                Some(read(&dir.join(REFERENCE), &like, &trained)?)
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

/// A model with the parameters of a folder in the place of its own.
fn read<M: VisionLanguageModel>(dir: &Path, model: &M, trained: &Trained) -> Result<M, Error> {
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
    Ok(map_parameters(model.clone(), |parameter| {
        match values.remove(&parameter.name) {
            Some(values) => NamedParameter {
                values,
                ..parameter
            },
            None => parameter,
        }
    }))
}

fn tensor(values: Vec<f32>, dtype: DType, device: &Device) -> Tensor<1> {
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), (device, dtype))
}
