//! What decides what a run learns and measures, in a few checksums: a run may only be resumed by
//! one with the same.
//!
//! Everything is hashed whole: every value of every parameter, every byte of the files beside the
//! weights, and of each example that is trained or tested on its picture's bytes, question, choices
//! and label. Paths and names are left out, so that folders may be moved. On all cores that is less
//! than a second for a gigabyte.

use std::fmt::Write;
use std::fs::File;
use std::io;

use burn::tensor::Tensor;
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use visrl_core::files::FileError;
use visrl_core::{Example, ImageSource};
use visrl_vlm::{Pretrained, VisionLanguageModel, visit_parameters};

use crate::error::Error;

/// Of a model: number formats, weights, and the files beside them.
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
    Ok(json!({
        "dtype": formats.join(", "),
        "weights": of_parts(digests),
        "files": files,
    }))
}

/// Of examples in their order: their number, and all that is asked and shown.
pub(crate) fn of_examples(examples: &[Example]) -> Result<Value, Error> {
    let digests = examples
        .par_iter()
        .map(|example| {
            let mut hash = Sha256::new();
            part(&mut hash, example.question.as_bytes());
            part(&mut hash, example.label.as_bytes());
            for choice in &example.choices {
                part(&mut hash, choice.as_bytes());
            }
            part(&mut hash, &of_image(&example.image)?);
            Ok(hash.finalize().to_vec())
        })
        .collect::<Result<Vec<_>, Error>>()?;
    Ok(json!({ "examples": examples.len(), "sha256": of_parts(digests) }))
}

fn of_image(image: &ImageSource) -> Result<Vec<u8>, Error> {
    let pixels = |width: u32, height: u32, pixels: &[u8]| {
        let mut hash = Sha256::new();
        hash.update(width.to_le_bytes());
        hash.update(height.to_le_bytes());
        hash.update(pixels);
        hash.finalize().to_vec()
    };
    Ok(match image {
        ImageSource::Path(path) => {
            let mut hash = Sha256::new();
            File::open(path)
                .and_then(|mut file| io::copy(&mut file, &mut hash))
                .map_err(|source| FileError::io(path, source))?;
            hash.finalize().to_vec()
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
