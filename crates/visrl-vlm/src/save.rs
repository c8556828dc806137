//! Writing checkpoints in Hugging Face layout, whole or not at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use half::bf16;
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde::{Deserialize, Serialize};

use crate::build::transpose;
use crate::naming::visit_parameters;
use crate::{Error, VisionLanguageModel};

/// The number format of saved weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SaveDtype {
    /// 32-bit floats: what training on a CPU holds.
    #[default]
    F32,
    /// bfloat16, rounded to nearest even.
    Bf16,
}

/// Writes a folder atomically: `fill` writes into a temporary folder beside it, every file is
/// synced, and the folder takes its place by a rename. A folder that was there before is replaced
/// as a whole; when anything fails it stays as it was.
///
/// # Errors
/// [`Error::Io`] with the path, or what `fill` returns.
pub fn write_dir_atomically(
    dir: &Path,
    fill: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let at = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    fs::create_dir_all(&parent).map_err(at(&parent))?;
    let temporary = tempfile::Builder::new()
        .prefix(".saving-")
        .tempdir_in(&parent)
        .map_err(at(&parent))?;
    let new = temporary.path().join("new");
    fs::create_dir(&new).map_err(at(&new))?;
    fill(&new)?;
    for entry in fs::read_dir(&new).map_err(at(&new))? {
        let path = entry.map_err(at(&new))?.path();
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(at(&path))?;
    }
    let old = temporary.path().join("old");
    let replaced = dir.exists();
    if replaced {
        fs::rename(dir, &old).map_err(at(dir))?;
    }
    if let Err(source) = fs::rename(&new, dir) {
        if replaced {
            fs::rename(&old, dir).map_err(at(dir))?;
        }
        return Err(Error::io(dir, source));
    }
    // The rename itself must reach the disk, too; folders cannot be synced everywhere.
    if let Ok(handle) = File::open(&parent) {
        let _ = handle.sync_all();
    }
    Ok(())
}

/// Writes a file atomically: a temporary file beside it, synced, then renamed.
///
/// # Errors
/// [`Error::Io`] with the path.
pub fn write_file_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        fs::create_dir_all(parent)?;
        let mut file = builder().tempfile_in(parent)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|source| Error::io(path, source))
}

/// Writes a model's weights as `model.safetensors` under Hugging Face's names into a folder.
///
/// # Errors
/// [`Error::Io`] or [`Error::Weights`] with the path.
pub fn save_weights<M: VisionLanguageModel>(
    model: &M,
    dir: &Path,
    dtype: SaveDtype,
) -> Result<(), Error> {
    let path = dir.join("model.safetensors");
    let mut tensors: BTreeMap<String, (Vec<usize>, Vec<u8>)> = BTreeMap::new();
    let mut failure = None;
    visit_parameters(model, |parameter| {
        let mut values: Vec<f32> = match parameter.values.try_into_vec_as() {
            Ok(values) => values,
            Err(error) => {
                failure = Some(format!(
                    "tensor `{}` cannot be read: {error}",
                    parameter.name
                ));
                return;
            }
        };
        let mut shape = parameter.shape;
        if parameter.transposed {
            values = transpose(&values, shape[0], shape[1]);
            shape.swap(0, 1);
        }
        let shape = model.file_shape(&parameter.name).unwrap_or(shape);
        let bytes = match dtype {
            SaveDtype::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
            SaveDtype::Bf16 => values
                .iter()
                .flat_map(|&x| bf16::from_f32(x).to_le_bytes())
                .collect(),
        };
        tensors.insert(parameter.name, (shape, bytes));
    });
    let weights = |message: String| Error::Weights {
        path: path.clone(),
        message,
    };
    if let Some(message) = failure {
        return Err(weights(message));
    }
    let dtype = match dtype {
        SaveDtype::F32 => Dtype::F32,
        SaveDtype::Bf16 => Dtype::BF16,
    };
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| Ok((name, TensorView::new(dtype, shape.clone(), bytes)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|error| weights(error.to_string()))?;
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|error| weights(error.to_string()))?;
    readable(&path).map_err(|source| Error::io(&path, source))
}

/// Temporary files are made for their owner alone; what they become is for all that the user's
/// mask allows.
#[cfg(unix)]
fn builder() -> tempfile::Builder<'static, 'static> {
    use std::os::unix::fs::PermissionsExt;
    let mut builder = tempfile::Builder::new();
    builder.permissions(fs::Permissions::from_mode(0o666));
    builder
}

#[cfg(not(unix))]
fn builder() -> tempfile::Builder<'static, 'static> {
    tempfile::Builder::new()
}

/// Gives a file the permissions of a newly made one.
fn readable(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let sample = builder().tempfile_in(folder)?;
    fs::set_permissions(path, sample.as_file().metadata()?.permissions())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_folder() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("checkpoint");
        write_dir_atomically(&dir, |new| {
            fs::write(new.join("a"), "1").map_err(|source| Error::io(new, source))
        })
        .unwrap();
        let failed = write_dir_atomically(&dir, |new| {
            fs::write(new.join("a"), "2").map_err(|source| Error::io(new, source))?;
            Err(Error::Input("interrupted".into()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_new_folder_replaces_the_old_one_whole() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("checkpoint");
        for name in ["a", "b"] {
            write_dir_atomically(&dir, |new| {
                fs::write(new.join(name), name).map_err(|source| Error::io(new, source))
            })
            .unwrap();
        }
        assert!(!dir.join("a").exists() && dir.join("b").exists());
    }
}
