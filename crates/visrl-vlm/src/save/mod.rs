//! Writing checkpoints in Hugging Face layout, whole or not at all.

mod shards;

use std::path::Path;

use burn::tensor::Tensor;
use half::{bf16, f16};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::build::transpose;
use crate::naming::{NamedParameter, visit_parameters};
use crate::{Error, VisionLanguageModel};

pub use shards::{TensorToSave, write_tensors};

/// The number format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// 32-bit floats: what training on a CPU holds.
    #[default]
    F32,
    /// bfloat16, rounded to nearest even.
    Bf16,
    /// IEEE half precision, rounded to nearest even; beyond 65,504 it is infinite.
    F16,
}

impl SaveDtype {
    /// Bytes of a value.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 | Self::F16 => 2,
        }
    }

    /// The format's name in `config.json`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::Bf16 => "bfloat16",
            Self::F16 => "float16",
        }
    }

    /// Adds values to little-endian bytes.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) {
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|x| x.to_le_bytes())),
            Self::Bf16 => {
                bytes.extend(values.iter().flat_map(|&x| bf16::from_f32(x).to_le_bytes()));
            }
            Self::F16 => {
                bytes.extend(values.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()));
            }
        }
    }
}

/// How weights are saved.
///
/// A [`SaveDtype`] converts into the options with that format and the default shard size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SaveOptions {
    /// The number format.
    pub dtype: SaveDtype,
    /// The most bytes of tensors in one file; a larger tensor has a file of its own.
    pub max_shard_bytes: u64,
}

impl Default for SaveOptions {
    /// 32-bit floats in files of at most 5 GB.
    fn default() -> Self {
        Self {
            dtype: SaveDtype::default(),
            max_shard_bytes: 5_000_000_000,
        }
    }
}

impl From<SaveDtype> for SaveOptions {
    fn from(dtype: SaveDtype) -> Self {
        Self {
            dtype,
            ..Self::default()
        }
    }
}

/// Writes a model's weights under Hugging Face's names into a folder, as [`write_tensors`] does:
/// one tensor at a time, so that saving takes little more memory than the largest one.
///
/// # Errors
/// [`Error::File`] or [`Error::Weights`] with the path.
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
                name: parameter.name.clone(),
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
fn encode(parameter: &NamedParameter, dtype: SaveDtype) -> Result<Vec<u8>, String> {
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

/// `config.json` with the format of the saved weights: the fields that say it (`dtype` in
/// transformers 5, `torch_dtype` before, of the model and of its parts) are set, and `torch_dtype`,
/// which both read, is added where there is none. Otherwise the file stays as it is.
pub(crate) fn config_with_dtype(config: &[u8], dtype: SaveDtype) -> Result<Vec<u8>, String> {
    const FIELDS: [&str; 2] = ["dtype", "torch_dtype"];
    let mut root: Value = serde_json::from_slice(config).map_err(|error| error.to_string())?;
    let before = root.clone();
    let set = |object: &mut Value| {
        let mut found = false;
        for field in FIELDS {
            if let Some(value) = object.get_mut(field) {
                *value = dtype.name().into();
                found = true;
            }
        }
        found
    };
    for part in ["text_config", "vision_config"] {
        if let Some(part) = root.get_mut(part) {
            set(part);
        }
    }
    if !set(&mut root)
        && let Some(fields) = root.as_object_mut()
    {
        fields.insert("torch_dtype".into(), dtype.name().into());
    }
    if root == before {
        return Ok(config.to_vec());
    }
    Ok(format!("{root:#}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_round_to_nearest_even() {
        let values = [1.0, -2.5, 1.003_906_2, 1.011_718_8, 65_520.0, f32::NAN];
        let encoded = |dtype: SaveDtype| {
            let mut bytes = Vec::new();
            dtype.encode(&values, &mut bytes);
            assert_eq!(bytes.len(), values.len() * dtype.bytes());
            bytes
        };
        let f32s = encoded(SaveDtype::F32);
        assert_eq!(f32s[..4], 1f32.to_le_bytes());
        let words = |bytes: Vec<u8>| -> Vec<u16> {
            let pairs = bytes.as_chunks().0.iter();
            pairs.map(|&pair| u16::from_le_bytes(pair)).collect()
        };
        // 1 + 1/256 is a tie and goes down to 1; 1 + 3/256 is a tie and goes up to 1 + 4/256.
        let bf16s = words(encoded(SaveDtype::Bf16));
        assert_eq!(bf16s[..4], [0x3f80, 0xc020, 0x3f80, 0x3f82]);
        assert!(bf16::from_bits(bf16s[5]).is_nan());
        let f16s = words(encoded(SaveDtype::F16));
        assert_eq!(f16s[..5], [0x3c00, 0xc100, 0x3c04, 0x3c0c, 0x7c00]);
    }

    #[test]
    fn the_config_tells_the_format() {
        let saved = |text: &str| {
            let bytes = config_with_dtype(text.as_bytes(), SaveDtype::Bf16).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(
            saved("{\"a\": 1}"),
            "{\n  \"a\": 1,\n  \"torch_dtype\": \"bfloat16\"\n}\n"
        );
        let nested = saved(r#"{"dtype":"float32","text_config":{"dtype":"float32","b":2}}"#);
        assert!(
            !nested.contains("float32") && !nested.contains("torch_dtype"),
            "{nested}"
        );
        // What is right is left as it is written.
        let right = r#"{ "torch_dtype":"bfloat16" }"#;
        assert_eq!(saved(right), right);
        assert!(config_with_dtype(b"{", SaveDtype::F32).is_err());
    }

    #[test]
    fn a_format_is_options_with_the_default_size() {
        let options = SaveOptions::from(SaveDtype::F16);
        assert_eq!(
            (options.dtype, options.max_shard_bytes),
            (SaveDtype::F16, 5_000_000_000)
        );
        let read: SaveOptions = serde_json::from_str(r#"{"dtype": "bf16"}"#).unwrap();
        assert_eq!(read, SaveDtype::Bf16.into());
    }
}
