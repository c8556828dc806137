//! A model's weights, tensor by tensor, under Hugging Face's names.

use std::path::Path;

use burn::tensor::Tensor;

use super::save_options::{SaveDtype, SaveOptions};
use super::shards::{TensorToSave, write_tensors};
use crate::checkpoint::transpose::transpose;
use crate::error::Error;
use crate::model::parameters::{NamedParameter, visit_parameters};
use crate::model::vision_language_model::VisionLanguageModel;

/// Writes a model's weights under Hugging Face's names into a folder, as [`write_tensors`] does:
/// one tensor at a time, so that saving takes little more memory than the largest one.
///
/// # Errors
/// [`Error::File`] with the file that cannot be written, and [`Error::Weights`] for two parameters
/// of one name or one that cannot be read from its device.
pub fn save_weights<M: VisionLanguageModel>(
    model: &M,
    dir: &Path,
    options: impl Into<SaveOptions>,
) -> Result<(), Error> {
    // The parameters themselves, not copies.
    let mut parameters = Vec::new();
    visit_parameters(model, |parameter| parameters.push(parameter));
    let tensors: Vec<TensorToSave<'_>> = parameters
        .iter()
        .map(|parameter| {
            let mut shape = parameter.shape.clone();
            if parameter.transposed {
                shape.swap(0, 1);
            }
            TensorToSave {
                name: model.file_name(&parameter.name),
                shape: model.file_shape(&parameter.name).unwrap_or(shape),
                bytes: Box::new(move |dtype| {
                    encode(parameter, dtype).map_err(|message| Error::Weights {
                        path: dir.to_owned(),
                        message: format!("tensor `{}` cannot be read: {message}", parameter.name),
                    })
                }),
            }
        })
        .collect();
    write_tensors(dir, &tensors, options.into())
}

/// Values that are taken from the device and converted at a time.
const CHUNK: usize = 1 << 20;

/// The bytes of a parameter in Hugging Face's layout.
pub(in crate::checkpoint) fn encode(
    parameter: &NamedParameter,
    dtype: SaveDtype,
) -> Result<Vec<u8>, String> {
    let read = |range: std::ops::Range<usize>| -> Result<Vec<f32>, String> {
        let part: Tensor<1> = parameter.values.clone().slice([range]);
        part.try_into_vec_as().map_err(|error| error.to_string())
    };
    let count: usize = parameter.shape.iter().product();
    if !parameter.transposed {
        let mut bytes = Vec::with_capacity(count * dtype.bytes());
        for start in (0..count).step_by(CHUNK) {
            dtype.encode(&read(start..(start + CHUNK).min(count))?, &mut bytes);
        }
        return Ok(bytes);
    }
    let &[inputs, outputs] = parameter.shape.as_slice() else {
        return Err(format!("it has shape {:?}, not two sides", parameter.shape));
    };
    let mut bytes = vec![0; count * dtype.bytes()];
    let rows = (CHUNK / outputs.max(1)).max(1);
    let mut column = Vec::new();
    for first in (0..inputs).step_by(rows) {
        let end = (first + rows).min(inputs);
        let turned = transpose(&read(first * outputs..end * outputs)?, end - first, outputs);
        let places = bytes.chunks_exact_mut(inputs * dtype.bytes());
        for (values, place) in turned.chunks_exact(end - first).zip(places) {
            column.clear();
            dtype.encode(values, &mut column);
            place[first * dtype.bytes()..][..column.len()].copy_from_slice(&column);
        }
    }
    Ok(bytes)
}
