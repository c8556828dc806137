//! Safetensors files of a limited size, written tensor by tensor.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::View;
use safetensors::{Dtype, SafeTensorError};
use serde_json::{Value, json};

use super::save_options::{SaveDtype, SaveOptions};
use crate::error::Error;
use visrl_core::files::{self, make_readable};

/// A tensor to be saved: its bytes are asked for when its turn comes, and dropped when they are
/// written.
pub struct TensorToSave<'a> {
    /// Hugging Face's name.
    pub name: String,
    /// The shape in the file.
    pub shape: Vec<usize>,
    /// Gives the values, row major, in the asked format; [`SaveDtype::encode`] writes it.
    pub bytes: Box<dyn Fn(SaveDtype) -> Result<Vec<u8>, Error> + 'a>,
}

impl std::fmt::Debug for TensorToSave<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TensorToSave({} {:?})", self.name, self.shape)
    }
}

/// Writes tensors into a folder as transformers does: `model.safetensors` when they fit in one
/// file of [`max_shard_bytes`](SaveOptions::max_shard_bytes), and otherwise
/// `model-00001-of-0000N.safetensors` and so on with `model.safetensors.index.json`.
///
/// Shards are filled in the order given; a tensor beyond the limit has one of its own. One tensor
/// is in memory at a time.
///
/// # Errors
/// [`Error::File`] with the file that cannot be written, [`Error::Weights`] for two tensors of one
/// name or one whose bytes do not fit its shape, and the error of a tensor's `bytes` as it is.
pub fn write_tensors(
    dir: &Path,
    tensors: &[TensorToSave<'_>],
    options: SaveOptions,
) -> Result<(), Error> {
    let sizes: Vec<u64> = tensors
        .iter()
        .map(|tensor| tensor.byte_len(options.dtype) as u64)
        .collect();
    let shards = split(&sizes, options.max_shard_bytes);
    let mut weight_map = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = match shards.len() {
            1 => "model.safetensors".to_owned(),
            count => format!("model-{:05}-of-{count:05}.safetensors", index + 1),
        };
        let path = dir.join(&name);
        for tensor in &tensors[shard.clone()] {
            if weight_map.insert(&tensor.name, name.clone()).is_some() {
                let message = format!("two tensors are named `{}`", tensor.name);
                return Err(Error::Weights { path, message });
            }
        }
        write_file(&path, &tensors[shard.clone()], options.dtype)?;
    }
    if shards.len() > 1 {
        let path = dir.join("model.safetensors.index.json");
        let total_size: u64 = sizes.iter().sum();
        let index: Value =
            json!({ "metadata": { "total_size": total_size }, "weight_map": weight_map });
        files::write_file(&path, format!("{index:#}\n").as_bytes())?;
    }
    Ok(())
}

/// Neighbours that share a file; always at least one file.
fn split(sizes: &[u64], most: u64) -> Vec<std::ops::Range<usize>> {
    let mut shards = Vec::new();
    let (mut start, mut filled) = (0, 0u64);
    for (index, &size) in sizes.iter().enumerate() {
        if index > start && filled.saturating_add(size) > most {
            shards.push(start..index);
            (start, filled) = (index, 0);
        }
        filled = filled.saturating_add(size);
    }
    shards.push(start..sizes.len());
    shards
}

fn write_file(path: &Path, tensors: &[TensorToSave<'_>], dtype: SaveDtype) -> Result<(), Error> {
    let failure = RefCell::new(None);
    let views = tensors.iter().map(|tensor| {
        let view = LazyView {
            tensor,
            dtype,
            path,
            failure: &failure,
        };
        (tensor.name.as_str(), view)
    });
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let written = safetensors::serialize_to_file(views, Some(metadata), path);
    if let Some(error) = failure.take() {
        // Nothing is left of a file whose tensors could not all be read.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    written.map_err(|error| match error {
        SafeTensorError::IoError(source) => Error::io(path, source),
        error => Error::Weights {
            path: path.to_owned(),
            message: error.to_string(),
        },
    })?;
    make_readable(path).map_err(|source| Error::io(path, source))
}

impl TensorToSave<'_> {
    fn byte_len(&self, dtype: SaveDtype) -> usize {
        let values = self
            .shape
            .iter()
            .fold(1usize, |product, &side| product.saturating_mul(side));
        values.saturating_mul(dtype.bytes())
    }
}

/// A tensor whose bytes are made when they are written. Making them may fail, which a view cannot
/// tell: the first failure is kept aside.
struct LazyView<'a> {
    tensor: &'a TensorToSave<'a>,
    dtype: SaveDtype,
    path: &'a Path,
    failure: &'a RefCell<Option<Error>>,
}

impl View for LazyView<'_> {
    fn dtype(&self) -> Dtype {
        match self.dtype {
            SaveDtype::F32 => Dtype::F32,
            SaveDtype::Bf16 => Dtype::BF16,
            SaveDtype::F16 => Dtype::F16,
        }
    }

    fn shape(&self) -> &[usize] {
        &self.tensor.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        if self.failure.borrow().is_some() {
            return Cow::Borrowed(&[]);
        }
        let bytes = (self.tensor.bytes)(self.dtype).and_then(|bytes| {
            if bytes.len() == self.data_len() {
                return Ok(bytes);
            }
            let message = format!(
                "tensor `{}` of shape {:?} has {} bytes, not {}",
                self.tensor.name,
                self.tensor.shape,
                bytes.len(),
                self.data_len()
            );
            Err(Error::Weights {
                path: self.path.to_owned(),
                message,
            })
        });
        bytes.map_or_else(
            |error| {
                *self.failure.borrow_mut() = Some(error);
                Cow::Borrowed(&[][..])
            },
            Cow::Owned,
        )
    }

    fn data_len(&self) -> usize {
        self.tensor.byte_len(self.dtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(name: &str, shape: &[usize], values: Vec<f32>) -> TensorToSave<'static> {
        TensorToSave {
            name: name.into(),
            shape: shape.to_vec(),
            bytes: Box::new(move |dtype| {
                let mut bytes = Vec::new();
                dtype.encode(&values, &mut bytes);
                Ok(bytes)
            }),
        }
    }

    #[test]
    fn shards_are_filled_in_order() {
        assert_eq!(split(&[4, 4, 4], 12), vec![0..3; 1]);
        assert_eq!(split(&[4, 4, 4], 11), [0..2, 2..3]);
        assert_eq!(split(&[9, 1, 1, 9, 9], 4), [0..1, 1..3, 3..4, 4..5]);
        assert_eq!(split(&[1, 2], 0), [0..1, 1..2]);
        assert_eq!(split(&[], 5), vec![0..0; 1]);
    }

    #[test]
    fn names_must_differ_and_bytes_must_fit() {
        let dir = tempfile::tempdir().unwrap();
        let write = |tensors: &[TensorToSave<'_>]| {
            let error = write_tensors(dir.path(), tensors, SaveOptions::default());
            error.unwrap_err().to_string()
        };
        let twice = [tensor("a", &[1], vec![1.0]), tensor("a", &[1], vec![2.0])];
        assert!(write(&twice).contains("two tensors are named `a`"));
        let message = write(&[tensor("b", &[2, 2], vec![1.0])]);
        assert!(
            message.contains("model.safetensors: tensor `b`"),
            "{message}"
        );
        let failing = TensorToSave {
            bytes: Box::new(|_| Err(Error::Input("gone".into()))),
            ..tensor("c", &[1], Vec::new())
        };
        assert_eq!(write(&[failing]), "gone");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_index_names_every_tensor() {
        let dir = tempfile::tempdir().unwrap();
        let tensors = [
            tensor("b", &[3], vec![1.0; 3]),
            tensor("a", &[2, 2], vec![2.0; 4]),
            tensor("c", &[1], vec![3.0]),
        ];
        let options = SaveOptions {
            dtype: SaveDtype::F16,
            max_shard_bytes: 10,
        };
        write_tensors(dir.path(), &tensors, options).unwrap();
        let index = crate::checkpoint::config_files::read_json(
            &dir.path().join("model.safetensors.index.json"),
        )
        .unwrap();
        assert_eq!(
            index,
            json!({
                "metadata": { "total_size": 16 },
                "weight_map": {
                    "a": "model-00002-of-00002.safetensors",
                    "b": "model-00001-of-00002.safetensors",
                    "c": "model-00002-of-00002.safetensors",
                },
            })
        );
        let bytes = std::fs::read(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
        let header = u64::from_le_bytes(*bytes.first_chunk().unwrap());
        assert_eq!(header % 8, 0);
        assert_eq!(bytes.len() as u64, 8 + header + 10);
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(file.tensor("a").unwrap().shape(), [2, 2]);
        assert_eq!(file.tensor("c").unwrap().data(), [0x00, 0x42]);
    }
}
