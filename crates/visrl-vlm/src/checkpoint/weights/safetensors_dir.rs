//! The weights of a checkpoint folder.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use burn::tensor::{Element, TensorData, bf16};
use safetensors::{Dtype, SafeTensors};
use visrl_core::warn_once;

use super::convert::{self, Convert, Target};
use super::mapped::MappedFile;
use super::weight_files::{INDEX, WeightFiles};
use super::weight_source::{ParamDtype, WeightSource};
use crate::error::Error;

/// The safetensors files of a checkpoint folder: `model.safetensors`, or else the shards that
/// `model.safetensors.index.json` lists. Where there are both, the index is told in a warning.
///
/// Names of both layouts are understood: `model.*` and `visual.*` as on the hub, and
/// `model.language_model.*` and `model.visual.*` as in the modules of transformers 5.
#[derive(Debug)]
pub struct SafetensorsDir {
    dir: PathBuf,
    files: Vec<MappedFile>,
    tensors: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Range<usize>,
    is_used: bool,
}

impl SafetensorsDir {
    /// Maps the files of a folder and reads their headers; no tensor is read yet.
    ///
    /// # Errors
    /// [`Error::File`] with the file that is missing or an index that cannot be used, and
    /// [`Error::Weights`] with one that is truncated, damaged or holds a tensor that another file
    /// has.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, Error> {
        let dir = dir.as_ref().to_owned();
        let files = WeightFiles::find(&dir)?;
        let paths = files.names.iter().map(|name| dir.join(name)).collect();
        let source = Self::map_all(dir, paths)?;
        files.tell_moved(&source.dir, |tensor| {
            let entry = source.tensors.get(&hub_name(tensor))?;
            source.files[entry.file].path().file_name()?.to_str()
        });
        Ok(source)
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
        let mapped = MappedFile::open(path)?;
        let damaged = |message: String| Error::Weights {
            path: mapped.path().to_owned(),
            message,
        };
        let (header, metadata) = SafeTensors::read_metadata(mapped.bytes())
            .map_err(|error| damaged(format!("not a whole safetensors file ({error})")))?;
        let data = header + 8;
        for (name, info) in metadata.tensors() {
            let (start, end) = (data + info.data_offsets.0, data + info.data_offsets.1);
            if start > end || end > mapped.bytes().len() {
                let have = mapped.bytes().len();
                return Err(damaged(format!(
                    "truncated: tensor `{name}` ends at byte {end}, the file has {have}"
                )));
            }
            let entry = Entry {
                file: self.files.len(),
                dtype: info.dtype,
                shape: info.shape.clone(),
                bytes: start..end,
                is_used: false,
            };
            if self.tensors.insert(hub_name(&name), entry).is_some() {
                return Err(damaged(format!("tensor `{name}` is there twice")));
            }
        }
        self.files.push(mapped);
        Ok(())
    }

    /// The names of all tensors, in the hub's layout.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The file that says which tensors there are: the one that holds them, or the index.
    fn place(&self) -> PathBuf {
        match self.files.as_slice() {
            [file] => file.path().to_owned(),
            _ => self.dir.join(INDEX),
        }
    }

    /// A tensor's shape.
    pub(crate) fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.tensors.get(name)?.shape)
    }

    /// Warns of tensors that have not been read, once the model is built: it has fewer layers than
    /// the files, or another form. Rotary frequencies, which are computed, and a head that is the
    /// embedding are expected.
    pub fn tell_unused(&self) {
        let unused = |(name, entry): &(&String, &Entry)| {
            !entry.is_used && !name.ends_with(".inv_freq") && !self.is_tied_head(name)
        };
        let mut unused = self.tensors.iter().filter(unused);
        if let Some((name, entry)) = unused.next() {
            warn_once(format!(
                "{}: tensor `{name}` is not used by the model that config.json describes ({} such \
                 tensors); check its sizes, or take the file that belongs to it",
                self.files[entry.file].path().display(),
                unused.count() + 1
            ));
        }
    }

    /// Whether a tensor is a head with the values of the embedding.
    fn is_tied_head(&self, name: &str) -> bool {
        let embedding = self.tensors.get("model.embed_tokens.weight");
        let same = |a: &Entry, b: &Entry| {
            // In sections that are given back, as they are in reading.
            let mut starts = (0..a.bytes.len()).step_by(SECTION);
            let same_section = |start: usize| {
                let end = (start + SECTION).min(a.bytes.len());
                let [a, b] = [a, b].map(|entry| {
                    let place = entry.bytes.start + start..entry.bytes.start + end;
                    (&self.files[entry.file], place)
                });
                let is_same = a.0.bytes()[a.1.clone()] == b.0.bytes()[b.1.clone()];
                for (file, place) in [a, b] {
                    file.release(place);
                }
                is_same
            };
            a.dtype == b.dtype && a.shape == b.shape && starts.all(same_section)
        };
        let head = self.tensors.get(name).filter(|_| name == "lm_head.weight");
        head.zip(embedding)
            .is_some_and(|(head, embedding)| same(head, embedding))
    }

    fn mark_used(&mut self, name: &str) {
        if let Some(entry) = self.tensors.get_mut(name) {
            entry.is_used = true;
        }
    }
}

/// Bytes that are read between two releases of what was read.
const SECTION: usize = 32 << 20;

impl SafetensorsDir {
    /// Finds a tensor of this shape and gives its file, where it is, and how it is converted.
    fn find<T: Target>(
        &self,
        name: &str,
        shape: &[usize],
    ) -> Result<(&MappedFile, &Entry, Convert<T>), Error> {
        let entry = self.tensors.get(name).ok_or_else(|| Error::MissingTensor {
            path: self.place(),
            tensor: name.to_owned(),
        })?;
        let file = &self.files[entry.file];
        if entry.shape != shape {
            return Err(Error::Shape {
                path: file.path().to_owned(),
                tensor: name.to_owned(),
                found: entry.shape.clone(),
                expected: shape.to_vec(),
            });
        }
        let convert = T::converter(entry.dtype).ok_or_else(|| Error::Weights {
            path: file.path().to_owned(),
            message: format!(
                "tensor `{name}` has dtype {:?}, expected F32, BF16 or F16",
                entry.dtype
            ),
        })?;
        Ok((file, entry, convert))
    }

    fn values<T: Target>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, Error> {
        let (file, entry, convert) = self.find::<T>(name, shape)?;
        let size = entry.size();
        let mut out = zeros(entry.bytes.len() / size);
        let mut finite = true;
        for (start, out) in entry
            .bytes
            .clone()
            .step_by(SECTION)
            .zip(out.chunks_mut(SECTION / size))
        {
            let section = start..start + out.len() * size;
            file.announce(section.clone());
            finite &= convert::plain(&file.bytes()[section.clone()], size, out, convert);
            file.release(section);
        }
        check_finite(finite, file, name)?;
        Ok(out)
    }

    fn turned<T: Target>(&self, name: &str, shape: &[usize]) -> Result<Vec<T>, Error> {
        let (file, entry, convert) = self.find::<T>(name, shape)?;
        let size = entry.size();
        let count = entry.bytes.len() / size;
        let rows = shape.first().copied().unwrap_or(1);
        let columns = count / rows.max(1);
        let mut out = zeros(count);
        let together = convert::rows_per_section(columns * size, SECTION);
        let mut finite = true;
        for first in (0..rows).step_by(together) {
            let end = (first + together).min(rows);
            let place = |row: usize| entry.bytes.start + row * columns * size;
            file.announce(place(first)..place(end));
            let part = convert::Rows {
                bytes: &file.bytes()[place(first)..place(end)],
                size,
                first,
                rows,
                columns,
            };
            finite &= convert::turned(part, &mut out, convert);
            file.release(place(first)..place(end));
        }
        check_finite(finite, file, name)?;
        Ok(out)
    }
}

/// Refuses a tensor with values that no computation gives an answer with.
fn check_finite(finite: bool, file: &MappedFile, name: &str) -> Result<(), Error> {
    if finite {
        return Ok(());
    }
    Err(Error::Weights {
        path: file.path().to_owned(),
        message: format!(
            "tensor `{name}` holds NaN or infinite values; the training that wrote it diverged, or \
             the file is damaged"
        ),
    })
}

/// Zeros to be overwritten; where Linux gives pages of 2 MiB on demand, large ones ask for them:
/// fresh memory costs a page fault for each page, and a transposed weight is written across pages.
#[allow(unsafe_code)] // one call of madvise
fn zeros<T: Target>(count: usize) -> Vec<T> {
    let out = vec![T::default(); count];
    #[cfg(target_os = "linux")]
    {
        use rustix::mm::{Advice, madvise};
        const PAGE: usize = 2 << 20;
        let start = out.as_ptr().addr().next_multiple_of(PAGE);
        let end = (out.as_ptr().addr() + size_of_val(out.as_slice())) / PAGE * PAGE;
        if start < end {
            let at = out.as_ptr().with_addr(start).cast_mut().cast();
            // SAFETY: the range lies within the vector, and the advice changes no content. It is
            // no more than advice, so a refusal is not an error.
            let _ = unsafe { madvise(at, end - start, Advice::LinuxHugepage) };
        }
    }
    out
}

impl Entry {
    /// Bytes of a value; for formats that have a converter.
    fn size(&self) -> usize {
        match self.dtype {
            Dtype::F32 => 4,
            _ => 2,
        }
    }
}

impl WeightSource for SafetensorsDir {
    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.mark_used(name);
        self.values(name, shape)
    }

    fn read_transposed(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        self.mark_used(name);
        self.turned(name, shape)
    }

    fn read_as(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: ParamDtype,
    ) -> Result<TensorData, Error> {
        self.mark_used(name);
        Ok(match dtype {
            ParamDtype::F32 => flat(self.values::<f32>(name, shape)?),
            ParamDtype::F64 => flat(self.values::<f64>(name, shape)?),
            ParamDtype::Bf16 => flat(self.values::<bf16>(name, shape)?),
        })
    }

    fn read_transposed_as(
        &mut self,
        name: &str,
        shape: &[usize],
        dtype: ParamDtype,
    ) -> Result<TensorData, Error> {
        self.mark_used(name);
        Ok(match dtype {
            ParamDtype::F32 => flat(self.turned::<f32>(name, shape)?),
            ParamDtype::F64 => flat(self.turned::<f64>(name, shape)?),
            ParamDtype::Bf16 => flat(self.turned::<bf16>(name, shape)?),
        })
    }
}

fn flat<E: Element>(values: Vec<E>) -> TensorData {
    let shape = [values.len()];
    TensorData::new(values, shape)
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
}
