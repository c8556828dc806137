use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::sources::idx::format::file_names;
use crate::sources::idx::images::{IdxImages, IdxLimits};
use crate::sources::idx::read::{read_idx_images, read_idx_labels};
use crate::sources::image_markers::own_question;
use crate::sources::labels::{plain_classes, tell_names};
use crate::split::Split;

/// A data set in four IDX files with MNIST's names: `train-images-idx3-ubyte`,
/// `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`, `t10k-labels-idx1-ubyte`, each plain or
/// with `.gz` at its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdxConfig {
    /// What to call the data set.
    pub name: String,
    /// The class names in label order.
    pub classes: Vec<String>,
    /// The question asked about every image.
    pub question: String,
    /// What a file may hold at most.
    #[serde(default)]
    pub limits: IdxLimits,
}

impl IdxConfig {
    /// Reads the four files of a folder: `train` becomes the training split and `t10k` the test
    /// split; there is no validation split. A record's id is `train/17` for the 18th row.
    ///
    /// # Errors
    ///
    /// Those of [`read_idx_images`]; [`Error::Missing`] when a file is not there,
    /// [`Error::CountMismatch`], [`Error::LabelRange`]; [`Error::Row`] and [`Error::AlikeClasses`]
    /// for class names that are none, or one name in two ways.
    pub fn open(&self, folder: &Path) -> Result<MemoryDataset, Error> {
        let classes = plain_classes(Path::new(&self.name), &self.classes, true)?;
        tell_names(folder, &classes);
        let question = own_question(&self.question)?;
        let mut dataset = MemoryDataset::new(&self.name, classes, question);
        for split in [Split::Train, Split::Test] {
            let (images, labels) = self.read(folder, split)?;
            let (width, height) = (images.width(), images.height());
            let rows = images.iter().zip(labels).enumerate();
            let records = rows.map(|(row, (pixels, label))| {
                let id = format!("{split}/{row}");
                let name = Arc::from(format!("{}/{id}", self.name));
                let image = ImageSource::Gray {
                    name,
                    width,
                    height,
                    pixels: Arc::from(pixels),
                };
                Record::new(id, image, usize::from(label))
            });
            dataset = dataset.with_split(split, records.collect())?;
        }
        Ok(dataset)
    }

    /// Images and labels of the training or the test split, checked against each other.
    ///
    /// # Errors
    ///
    /// Those of [`IdxConfig::open`]; [`Error::NoSplit`] for [`Split::Val`]; [`Error::Row`] for a
    /// file that lies there both plain and with `.gz`, where the two differ.
    pub fn read(&self, folder: &Path, split: Split) -> Result<(IdxImages, Vec<u8>), Error> {
        let Some([images_name, labels_name]) = file_names(split) else {
            return Err(Error::NoSplit {
                dataset: self.name.clone(),
                split,
            });
        };
        let limits = &self.limits;
        let (images_path, images) =
            find(folder, images_name, |path| read_idx_images(path, limits))?;
        let (labels_path, labels) =
            find(folder, labels_name, |path| read_idx_labels(path, limits))?;
        if images.len() != labels.len() {
            return Err(Error::CountMismatch {
                images: images_path,
                image_count: images.len(),
                labels: labels_path,
                label_count: labels.len(),
            });
        }
        let classes = self.classes.len();
        if let Some(row) = labels
            .iter()
            .position(|&label| usize::from(label) >= classes)
        {
            return Err(Error::LabelRange {
                path: labels_path,
                row: format!("labels[{row}]"),
                label: i64::from(labels[row]),
                classes,
            });
        }
        Ok((images, labels))
    }
}

/// Reads a file that is plain or has `.gz` at its end; where both are there they must be alike.
fn find<T: PartialEq>(
    folder: &Path,
    name: &str,
    read: impl Fn(&Path) -> Result<T, Error>,
) -> Result<(PathBuf, T), Error> {
    let plain = folder.join(name);
    let compressed = folder.join(format!("{name}.gz"));
    match (plain.is_file(), compressed.is_file()) {
        (true, false) => read(&plain).map(|found| (plain, found)),
        (false, true) => read(&compressed).map(|found| (compressed, found)),
        (true, true) => {
            let found = read(&plain)?;
            match read(&compressed)? == found {
                true => Ok((plain, found)),
                false => Err(Error::Row {
                    path: folder.to_path_buf(),
                    row: name.into(),
                    field: "file".into(),
                    message: format!("differs from `{name}.gz` beside it; remove one of the two"),
                }),
            }
        }
        (false, false) => {
            let hint = format!("put the IDX file `{name}` or `{name}.gz` there");
            Err(Error::Missing { path: plain, hint })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use crate::sources::idx::write::{write_idx_images, write_idx_labels};

    fn config() -> IdxConfig {
        IdxConfig {
            name: "two".into(),
            classes: vec!["a".into(), "b".into()],
            question: "Which?".into(),
            limits: IdxLimits::default(),
        }
    }

    fn write(folder: &Path, split: Split, labels: &[u8], images: usize) {
        let [images_name, labels_name] = file_names(split).unwrap();
        let pixels = IdxImages::new(2, 1, (0..images * 2).map(|i| i as u8).collect()).unwrap();
        write_idx_images(&folder.join(images_name), &pixels).unwrap();
        write_idx_labels(&folder.join(format!("{labels_name}.gz")), labels).unwrap();
    }

    #[test]
    fn four_files_make_two_splits() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Split::Train, &[1, 0, 1], 3);
        write(folder.path(), Split::Test, &[0], 1);
        let dataset = config().open(folder.path()).unwrap();
        let train = dataset.records(Split::Train).unwrap();
        assert_eq!((train[2].id.as_str(), train[2].label), ("train/2", 1));
        let ImageSource::Gray {
            name,
            width: 2,
            height: 1,
            pixels,
        } = &train[2].image
        else {
            panic!("{:?}", train[2]);
        };
        assert_eq!((&name[..], &pixels[..]), ("two/train/2", &[4, 5][..]));
        assert_eq!(dataset.records(Split::Test).unwrap().len(), 1);
        assert!(dataset.records(Split::Val).is_err());
        assert!(config().read(folder.path(), Split::Val).is_err());
    }

    #[test]
    fn files_that_do_not_fit_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = config().open(folder.path()).unwrap_err();
        assert!(
            matches!(error, Error::Missing { .. }) && error.to_string().contains("train-images")
        );
        write(folder.path(), Split::Train, &[1, 0], 3);
        let error = config().open(folder.path()).unwrap_err();
        assert!(matches!(
            error,
            Error::CountMismatch {
                image_count: 3,
                label_count: 2,
                ..
            }
        ));
        write(folder.path(), Split::Train, &[1, 2, 0], 3);
        let error = config().open(folder.path()).unwrap_err().to_string();
        assert!(
            error.ends_with("labels[1]: label 2 is out of range, there are 2 classes"),
            "{error}"
        );
    }

    #[test]
    fn a_file_in_two_forms_must_be_one() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), Split::Train, &[1, 0], 2);
        let [_, labels_name] = file_names(Split::Train).unwrap();
        let plain = folder.path().join(labels_name);
        write_idx_labels(&plain, &[1, 0]).unwrap();
        let (_, labels) = config().read(folder.path(), Split::Train).unwrap();
        assert_eq!(labels, [1, 0]);
        write_idx_labels(&plain, &[0, 1]).unwrap();
        let message = config()
            .read(folder.path(), Split::Train)
            .unwrap_err()
            .to_string();
        let fault = "train-labels-idx1-ubyte: field `file`: differs from \
                     `train-labels-idx1-ubyte.gz` beside it; remove one of the two";
        assert!(message.ends_with(fault), "{message}");
    }
}
