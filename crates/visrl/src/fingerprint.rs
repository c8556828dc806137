//! What decides what a run learns and measures, in a few checksums: a run may only be resumed by
//! one with the same.
//!
//! Hashed are every value of every parameter, every byte of the files beside the weights, and of
//! each example that is trained or tested on its picture, question, choices and label. Paths and
//! names are left out, so that folders may be moved. On all cores that is less than a second for a
//! gigabyte. Pictures are hashed whole, but in sets of more than [`MANY`], where a file is its size
//! and its first and last [`END`] bytes: reading all of ImageNet would take longer than many a run.

use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use visrl_core::files::FileError;
use visrl_core::{Content, Example, ImageSource, Layout};
use visrl_data::{Dataset, Record};
use visrl_vlm::{Pretrained, VisionLanguageModel, visit_parameters};

use crate::error::Error;

/// Of a model: its adapter's options, number formats, weights, and the files beside them.
pub(crate) fn of_model<M: VisionLanguageModel>(base: &Pretrained<M>) -> Result<Value, Error> {
    let mut parameters: Vec<(String, Vec<usize>, Tensor<1>)> = Vec::new();
    visit_parameters(&base.model, |parameter| {
        parameters.push((parameter.name, parameter.shape, parameter.values));
    });
    let mut formats: Vec<String> = parameters
        .iter()
        .map(|(_, _, values)| format!("{:?}", values.dtype()).to_lowercase())
        .collect();
    formats.sort();
    formats.dedup();
    let digests = parameters
        .into_par_iter()
        .map(|(name, shape, values)| {
            let values = values
                .try_into_data()
                .map_err(|error| visrl_train::Error::Device(error.to_string()))?;
            let mut hash = Sha256::new();
            part(&mut hash, name.as_bytes());
            part(&mut hash, format!("{shape:?}").as_bytes());
            part(&mut hash, values.as_bytes());
            Ok(hash.finalize().to_vec())
        })
        .collect::<Result<Vec<_>, Error>>()?;
    let mut files = Map::new();
    for name in base.files.names() {
        let bytes = base.files.get(name).unwrap_or_default();
        files.insert(name.to_owned(), hex(&Sha256::digest(bytes)).into());
    }
    files.sort_keys();
    let adapter = base.adapter.as_ref().map(|adapter| &adapter.config);
    Ok(json!({
        "adapter": adapter,
        "dtype": formats.join(", "),
        "weights": of_parts(digests),
        "files": files,
    }))
}

/// A set of more pictures than this is many.
const MANY: usize = 20_000;
/// Bytes at the two ends of a picture's file, where there are many.
const END: usize = 1 << 14;
/// Records that are made examples together.
const TOGETHER: usize = 4096;

/// Of examples in their order: their number, and all that is asked and shown.
pub(crate) fn of_examples(examples: &[Example]) -> Result<Value, Error> {
    let digests = of_each(examples, examples.len() > MANY)?;
    Ok(json!({ "examples": examples.len(), "sha256": of_parts(digests) }))
}

/// Of the records of a data set in their order. The lists of choices that are drawn for them are
/// functions of the settings and the names of classes.
pub(crate) fn of_records(data: &dyn Dataset, records: &[Record]) -> Result<Value, Error> {
    let mut digests = Vec::with_capacity(records.len());
    for together in records.chunks(TOGETHER) {
        let examples = together.iter().map(|record| {
            let mut example = data.example(record, Vec::new())?;
            example.choices = record.choices.as_deref().unwrap_or_default().to_vec();
            Ok(example)
        });
        let examples = examples.collect::<Result<Vec<_>, visrl_data::Error>>()?;
        digests.extend(of_each(&examples, records.len() > MANY)?);
    }
    Ok(json!({ "examples": records.len(), "sha256": of_parts(digests) }))
}

fn of_each(examples: &[Example], many: bool) -> Result<Vec<Vec<u8>>, Error> {
    let digest = |example: &Example| {
        let mut hash = Sha256::new();
        part(&mut hash, example.question.as_bytes());
        part(&mut hash, example.label.as_bytes());
        for choice in &example.choices {
            part(&mut hash, choice.as_bytes());
        }
        match &example.row.layout {
            None => part(&mut hash, &of_image(&example.image, many)?),
            Some(layout) => of_layout(&mut hash, layout, example, many)?,
        }
        Ok(hash.finalize().to_vec())
    };
    examples.par_iter().map(digest).collect()
}

/// What is shown where, and the system turn.
fn of_layout(
    hash: &mut Sha256,
    layout: &Layout,
    example: &Example,
    many: bool,
) -> Result<(), Error> {
    part(hash, b"layout");
    match &layout.system {
        Some(system) => part(hash, format!("system {system}").as_bytes()),
        None => part(hash, b"no system"),
    }
    if layout.parts.is_empty() {
        part(hash, &of_image(&example.image, many)?);
    }
    for shown in &layout.parts {
        match shown {
            Content::Text(text) => part(hash, text.as_bytes()),
            Content::Image(image) => part(hash, &of_image(image, many)?),
        }
    }
    Ok(())
}

fn of_image(image: &ImageSource, many: bool) -> Result<Vec<u8>, Error> {
    let pixels = |width: u32, height: u32, pixels: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(width.to_le_bytes());
        hash.update(height.to_le_bytes());
        hash.update(pixels);
        hash.finalize().to_vec()
    };
    Ok(match image {
        ImageSource::Path(path) => {
            let read = File::open(path).and_then(|file| of_file(file, many));
            read.map_err(|source| FileError::io(path, source))?
        }
        ImageSource::Encoded { bytes, .. } => Sha256::digest(bytes).to_vec(),
        ImageSource::Gray {
            width,
            height,
            pixels: grey,
            ..
        } => pixels(*width, *height, grey),
        ImageSource::Rgb {
            width,
            height,
            pixels: rgb,
            ..
        } => pixels(*width, *height, rgb),
    })
}

fn of_file(mut file: File, many: bool) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    let (size, end) = (file.metadata()?.len(), END as u64);
    if many && size > 2 * end {
        hash.update(size.to_le_bytes());
        io::copy(&mut (&mut file).take(end), &mut hash)?;
        file.seek(SeekFrom::Start(size - end))?;
    }
    io::copy(&mut file, &mut hash)?;
    Ok(hash.finalize().to_vec())
}

/// Adds a part with its length, so that no two lists of parts are one text.
fn part(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

fn of_parts(digests: Vec<Vec<u8>>) -> String {
    let mut hash = Sha256::new();
    digests.iter().for_each(|digest| hash.update(digest));
    hex(&hash.finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(pixels: [u8; 2]) -> Example {
        Example {
            id: "a".into(),
            image: ImageSource::Gray {
                name: "a".into(),
                width: 2,
                height: 1,
                pixels: pixels.into(),
            },
            question: "What?".into(),
            choices: vec!["cat".into(), "dog".into()],
            label: "cat".into(),
            row: Default::default(),
        }
    }

    #[test]
    fn all_that_is_asked_and_shown_counts_and_names_do_not() {
        let of = |example: Example| of_examples(&[example]).unwrap();
        let good = of(example([1, 2]));
        let same = Example {
            id: "b".into(),
            ..example([1, 2])
        };
        assert_eq!(of(same), good);
        let changed = [
            example([1, 3]),
            Example {
                question: "Which?".into(),
                ..example([1, 2])
            },
            Example {
                label: "dog".into(),
                ..example([1, 2])
            },
            Example {
                choices: vec!["dog".into(), "cat".into()],
                ..example([1, 2])
            },
            Example {
                choices: vec!["catdog".into()],
                ..example([1, 2])
            },
        ];
        for other in changed {
            assert_ne!(of(other.clone()), good, "{other:?}");
        }
        let two = [example([1, 2]), example([3, 4])];
        let turned = [example([3, 4]), example([1, 2])];
        assert_ne!(of_examples(&two).unwrap(), of_examples(&turned).unwrap());
    }

    #[test]
    fn of_many_files_the_size_and_both_ends_count() {
        let dir = tempfile::tempdir().unwrap();
        let of = |bytes: &[u8], many| {
            let path = dir.path().join("x");
            std::fs::write(&path, bytes).unwrap();
            of_file(File::open(path).unwrap(), many).unwrap()
        };
        let good = vec![7; 3 * END];
        let changed = |at: usize| {
            let mut bytes = good.clone();
            bytes[at] = 8;
            bytes
        };
        for at in [0, END - 1, 2 * END, 3 * END - 1] {
            assert_ne!(of(&changed(at), true), of(&good, true), "{at}");
        }
        assert_ne!(of(&good[..3 * END - 1], true), of(&good, true));
        assert_ne!(of(&changed(END), false), of(&good, false));
    }

    #[test]
    fn a_moved_picture_is_the_same_and_a_missing_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let of = |name: &str| {
            let image = ImageSource::path(dir.path().join(name));
            of_examples(&[Example {
                image,
                ..example([0, 0])
            }])
        };
        std::fs::write(dir.path().join("a.png"), "picture").unwrap();
        std::fs::write(dir.path().join("b.png"), "picture").unwrap();
        assert_eq!(of("a.png").unwrap(), of("b.png").unwrap());
        assert!(of("c.png").unwrap_err().to_string().contains("c.png"));
    }
}
