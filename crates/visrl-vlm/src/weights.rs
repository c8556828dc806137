//! Where parameters come from: safetensors files, read by memory map one tensor at a time, or a
//! seeded random draw.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};
use visrl_core::ShuffleRng;

use crate::Error;
use crate::config::read_json;

/// Gives a model's parameters by their Hugging Face names.
pub trait WeightSource {
    /// The values of a tensor, row major, in the layout of the Hugging Face file.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] and [`Error::Shape`] name the tensor; other errors tell of a
    /// damaged file.
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error>;
}

/// The safetensors files of a checkpoint folder: `model.safetensors`, or the shards that
/// `model.safetensors.index.json` lists.
///
/// Names of both layouts are understood: `model.*` and `visual.*` as on the hub, and
/// `model.language_model.*` and `model.visual.*` as in the modules of transformers 5.
#[derive(Debug)]
pub struct SafetensorsDir {
    dir: PathBuf,
    files: Vec<(PathBuf, Mmap)>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    start: usize,
    end: usize,
}

impl SafetensorsDir {
    /// Maps the files of a folder and reads their headers; no tensor is read yet.
    ///
    /// # Errors
    /// A missing, truncated or damaged file, by its name.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let index = dir.join("model.safetensors.index.json");
        let mut paths = Vec::new();
        if index.exists() {
            let value = read_json(&index)?;
            let map = value
                .get("weight_map")
                .and_then(|map| map.as_object())
                .ok_or_else(|| Error::field(&index, "weight_map", "is missing"))?;
            for (tensor, file) in map {
                let name = file.as_str().filter(|name| is_plain_file_name(name));
                let name = name.ok_or_else(|| {
                    let field = format!("weight_map.{tensor}");
                    Error::field(&index, &field, format!("{file} is not a file name"))
                })?;
                let path = dir.join(name);
                if !paths.contains(&path) {
                    paths.push(path);
                }
            }
        } else {
            paths.push(dir.join("model.safetensors"));
        }
        Self::map_all(dir, paths)
    }

    /// Maps these files of a folder.
    pub(crate) fn open_files(dir: &Path, names: &[&str]) -> Result<Self, Error> {
        let paths = names.iter().map(|name| dir.join(name)).collect();
        Self::map_all(dir.to_owned(), paths)
    }

    fn map_all(dir: PathBuf, paths: Vec<PathBuf>) -> Result<Self, Error> {
        let mut source = Self {
            dir,
            files: Vec::new(),
            tensors: BTreeMap::new(),
        };
        for path in paths {
            source.map(path)?;
        }
        Ok(source)
    }

    fn map(&mut self, path: PathBuf) -> Result<(), Error> {
        let file = File::open(&path).map_err(|source| Error::io(&path, source))?;
        // SAFETY: the map is read-only; a checkpoint that another process shortens while it is
        // being loaded is outside what a reader can defend against.
        #[allow(unsafe_code)]
        let map = unsafe { Mmap::map(&file) }.map_err(|source| Error::io(&path, source))?;
        let damaged = |message: String| Error::Weights {
            path: path.clone(),
            message,
        };
        let (header, metadata) = SafeTensors::read_metadata(&map)
            .map_err(|error| damaged(format!("not a whole safetensors file ({error})")))?;
        let data = header + 8;
        for (name, info) in metadata.tensors() {
            let (start, end) = (data + info.data_offsets.0, data + info.data_offsets.1);
            if start > end || end > map.len() {
                let have = map.len();
                return Err(damaged(format!(
                    "truncated: tensor `{name}` ends at byte {end}, the file has {have}"
                )));
            }
            let file = self.files.len();
            let (dtype, shape) = (info.dtype, info.shape.clone());
            self.tensors.insert(
                hub_name(&name),
                Entry {
                    file,
                    dtype,
                    shape,
                    start,
                    end,
                },
            );
        }
        self.files.push((path, map));
        Ok(())
    }

    /// The names of all tensors, in the hub's layout.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }
}

impl WeightSource for SafetensorsDir {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let entry = self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.dir.clone(),
            tensor: name.to_owned(),
        })?;
        let (path, map) = &self.files[entry.file];
        if entry.shape != shape {
            return Err(Error::Shape {
                path: path.clone(),
                tensor: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let bytes = &map[entry.start..entry.end];
        let values: Vec<f32> = match entry.dtype {
            Dtype::F32 => bytes
                .as_chunks::<4>()
                .0
                .iter()
                .map(|b| f32::from_le_bytes(*b))
                .collect(),
            Dtype::BF16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| bf16::from_le_bytes(*b).to_f32())
                .collect(),
            Dtype::F16 => bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|b| f16::from_le_bytes(*b).to_f32())
                .collect(),
            other => {
                return Err(Error::Weights {
                    path: path.clone(),
                    message: format!(
                        "tensor `{name}` has dtype {other:?}, expected F32, BF16 or F16"
                    ),
                });
            }
        };
        let expected: usize = shape.iter().product();
        if values.len() != expected {
            return Err(Error::Weights {
                path: path.clone(),
                message: format!(
                    "tensor `{name}` has {} values, not {expected}",
                    values.len()
                ),
            });
        }
        Ok(values)
    }
}

/// Weights drawn anew: matrices and embeddings from N(0, `std`), the patch projection from
/// N(0, 0.02), biases 0, norms 1.
#[derive(Debug)]
pub struct RandomWeights {
    rng: ShuffleRng,
    std: f64,
}

impl RandomWeights {
    /// Draws from a generator with this standard deviation.
    pub fn new(rng: ShuffleRng, std: f64) -> Self {
        Self { rng, std }
    }
}

impl WeightSource for RandomWeights {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let count = shape.iter().product();
        if name.ends_with(".bias") {
            return Ok(vec![0.0; count]);
        }
        if shape.len() == 1 {
            return Ok(vec![1.0; count]);
        }
        let std = if name.contains("patch_embed") {
            0.02
        } else {
            self.std
        };
        Ok((0..count)
            .map(|_| (self.rng.normal() * std) as f32)
            .collect())
    }
}

fn is_plain_file_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\\', '\0']) && name != "." && name != ".."
}

/// The hub's name for a tensor that may carry transformers 5's module name.
fn hub_name(name: &str) -> String {
    if let Some(rest) = name.strip_prefix("model.language_model.") {
        format!("model.{rest}")
    } else if let Some(rest) = name.strip_prefix("model.visual.") {
        format!("visual.{rest}")
    } else {
        name.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_name_layouts_become_the_hub_s() {
        assert_eq!(
            hub_name("model.language_model.norm.weight"),
            "model.norm.weight"
        );
        assert_eq!(
            hub_name("model.visual.merger.ln_q.bias"),
            "visual.merger.ln_q.bias"
        );
        assert_eq!(
            hub_name("model.layers.0.mlp.up_proj.weight"),
            "model.layers.0.mlp.up_proj.weight"
        );
        assert_eq!(hub_name("lm_head.weight"), "lm_head.weight");
    }

    #[test]
    fn an_index_cannot_name_files_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let index = dir.path().join("model.safetensors.index.json");
        std::fs::write(&index, r#"{"weight_map": {"a": "../b.safetensors"}}"#).unwrap();
        let error = SafetensorsDir::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("weight_map.a"), "{error}");
    }
}
