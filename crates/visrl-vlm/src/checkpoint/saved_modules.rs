//! Modules that PEFT trains whole beside its adapters (`modules_to_save`) and keeps in their file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use burn::tensor::{Tensor, TensorData};

use super::save::save_options::SaveDtype;
use super::save::save_weights::encode;
use super::weights::safetensors_dir::SafetensorsDir;
use super::weights::weight_source::WeightSource;
use crate::error::Error;
use crate::lora::targets::module_name;
use crate::model::parameters::{NamedParameter, map_parameters, visit_parameters};
use crate::model::vision_language_model::VisionLanguageModel;

const FIELD: &str = "modules_to_save";
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// A model with the modules of these names, by the ends of their names, as an adapter's file has
/// them. What is read is taken out of the names that are `left`; `files` are the adapter's two.
///
/// # Errors
/// [`Error::File`] with `modules_to_save`: a name that means no module, or a part of a head that is
/// the embedding; [`Error::MissingTensor`], [`Error::Shape`] and [`Error::Weights`] for tensors.
pub(super) fn read<M: VisionLanguageModel>(
    model: M,
    names: &[String],
    (source, left): (&mut SafetensorsDir, &mut BTreeSet<String>),
    [config, weights]: [&Path; 2],
) -> Result<M, Error> {
    if names.is_empty() {
        return Ok(model);
    }
    check(&model, names, config)?;
    // The mapper holds the model.
    let mut shapes = BTreeMap::new();
    visit_parameters(&model, |parameter| {
        let shape = file_shape(&model, &parameter);
        shapes.insert(parameter.name, shape);
    });
    let mut failure = None;
    let mut take = |parameter: &NamedParameter| -> Result<Tensor<1>, Error> {
        let candidates = [parameter.name.clone(), module_name(&parameter.name)];
        let [hub, module] = candidates.map(|name| format!("base_model.model.{name}"));
        let tensor = if left.contains(&hub) { hub } else { module };
        if !left.remove(&tensor) {
            return Err(Error::MissingTensor {
                path: weights.to_owned(),
                tensor,
            });
        }
        let shape = &shapes[&parameter.name];
        let values = match parameter.transposed {
            true => source.read_transposed(&tensor, shape)?,
            false => source.read(&tensor, shape)?,
        };
        let (count, old) = (values.len(), &parameter.values);
        let data = TensorData::new(values, [count]);
        Ok(Tensor::<1>::from_data(data, &old.device()).cast(old.dtype()))
    };
    let model = map_parameters(model, |parameter| {
        if failure.is_some() || !lies_in(&parameter.name, names) {
            return parameter;
        }
        match take(&parameter) {
            Ok(values) => NamedParameter {
                values,
                ..parameter
            },
            Err(error) => {
                failure = Some(error);
                parameter
            }
        }
    });
    failure.map_or(Ok(model), Err)
}

/// The tensors of the modules of these names, with their shapes, as PEFT's file has them.
///
/// # Errors
/// What cannot be read from its device.
pub(super) fn write<M: VisionLanguageModel>(
    model: &M,
    names: &[String],
    tensors: &mut BTreeMap<String, (Vec<usize>, Vec<u8>)>,
) -> Result<(), String> {
    let mut failure = None;
    visit_parameters(model, |parameter| {
        if !lies_in(&parameter.name, names) {
            return;
        }
        let name = format!("base_model.model.{}", module_name(&parameter.name));
        match encode(&parameter, SaveDtype::F32) {
            Ok(bytes) => {
                tensors.insert(name, (file_shape(model, &parameter), bytes));
            }
            Err(error) => failure = Some(format!("tensor `{name}` cannot be read: {error}")),
        }
    });
    failure.map_or(Ok(()), Err)
}

fn file_shape<M: VisionLanguageModel>(model: &M, parameter: &NamedParameter) -> Vec<usize> {
    let mut shape = parameter.shape.clone();
    if parameter.transposed {
        shape.swap(0, 1);
    }
    model.file_shape(&parameter.name).unwrap_or(shape)
}

fn check<M: VisionLanguageModel>(model: &M, names: &[String], path: &Path) -> Result<(), Error> {
    let mut parameters = BTreeSet::new();
    visit_parameters(model, |parameter| {
        parameters.insert(parameter.name);
    });
    let fail = |message: String| Err(Error::field(path, FIELD, message));
    let of = |name: &String| {
        let name = std::slice::from_ref(name);
        parameters.iter().any(|parameter| lies_in(parameter, name))
    };
    let is_tied = !parameters.contains(HEAD);
    let tied = [EMBEDDING, HEAD]
        .into_iter()
        .find(|place| lies_in(place, names));
    if let Some(place) = tied.filter(|_| is_tied) {
        return fail(format!(
            "names the module of `{place}`, but the head of the model is its embedding \
             (`tie_word_embeddings`), which PEFT trains apart; merge the adapter into its base with \
             PEFT, and use that model"
        ));
    }
    match names.iter().find(|name| !of(name)) {
        Some(name) => fail(format!("`{name}` is the name of no module of the model")),
        None => Ok(()),
    }
}

/// Whether a parameter lies in a module of one of these names, by either naming. As in PEFT, the end
/// of a name need not begin at a dot.
fn lies_in(parameter: &str, names: &[String]) -> bool {
    let is_named = |module: &str| names.iter().any(|name| module.ends_with(name.as_str()));
    [parameter.to_owned(), module_name(parameter)]
        .iter()
        .any(|parameter| {
            let mut ends = parameter.match_indices('.');
            ends.any(|(end, _)| is_named(&parameter[..end]))
        })
}
