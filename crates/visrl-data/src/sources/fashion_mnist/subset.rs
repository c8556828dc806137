use std::ops::Range;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sources::fashion_mnist::dataset::FashionMnist;
use crate::sources::idx::format::file_names;
use crate::sources::idx::write::{write_idx_images, write_idx_labels};
use crate::split::Split;

/// Which images of each class a subset of Fashion-MNIST takes.
///
/// The ranges count the images of one class in file order, starting at 0. The default is the
/// subset in `assets/fashion-mnist`: 32 training images per class from 1000 on, so that the first
/// 1000 remain for training a base model that has not seen them, and the first 100 test images.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FashionSubset {
    /// Images taken from `train`.
    pub train: Range<usize>,
    /// Images taken from `t10k`.
    pub test: Range<usize>,
}

impl Default for FashionSubset {
    fn default() -> Self {
        Self {
            train: 1000..1032,
            test: 0..100,
        }
    }
}

impl FashionSubset {
    /// Reads the full set from one folder and writes the subset into another as four `.gz` files
    /// of the same names, rows in file order. Gives the number of training and of test images.
    ///
    /// # Errors
    ///
    /// Those of [`IdxConfig::read`](crate::IdxConfig::read); [`Error::ClassTooSmall`] when a class
    /// has not enough images;
    /// [`Error::File`] when the target cannot be written.
    pub fn write(&self, from: &Path, to: &Path) -> Result<(usize, usize), Error> {
        let train = write_split(from, to, Split::Train, &self.train)?;
        let test = write_split(from, to, Split::Test, &self.test)?;
        Ok((train, test))
    }
}

/// [`FashionSubset::write`] of the default rows.
///
/// # Errors
///
/// Those of [`FashionSubset::write`].
pub fn fashion_subset(from: &Path, to: &Path) -> Result<(usize, usize), Error> {
    FashionSubset::default().write(from, to)
}

fn write_split(from: &Path, to: &Path, split: Split, take: &Range<usize>) -> Result<usize, Error> {
    let config = FashionMnist::config();
    let (images, labels) = config.read(from, split)?;
    let Some([images_name, labels_name]) = file_names(split) else {
        return Ok(0);
    };
    let rows = rows_per_class(&labels, config.classes.len(), take).map_err(|(class, found)| {
        Error::ClassTooSmall {
            path: from.join(labels_name),
            class,
            found,
            needed: take.end,
        }
    })?;
    let labels: Vec<u8> = rows.iter().map(|&row| labels[row]).collect();
    write_idx_images(
        &to.join(format!("{images_name}.gz")),
        &images.select(&rows)?,
    )?;
    write_idx_labels(&to.join(format!("{labels_name}.gz")), &labels)?;
    Ok(rows.len())
}

/// The rows whose place among the rows of their own class lies in `take`, in file order; or the
/// first class that has too few rows, with their number. Labels are below `classes`.
fn rows_per_class(
    labels: &[u8],
    classes: usize,
    take: &Range<usize>,
) -> Result<Vec<usize>, (usize, usize)> {
    let mut seen = vec![0; classes];
    let mut rows = Vec::new();
    for (row, &label) in labels.iter().enumerate() {
        let count = &mut seen[usize::from(label)];
        if take.contains(count) {
            rows.push(row);
        }
        *count += 1;
    }
    match seen.iter().position(|&count| count < take.end) {
        Some(class) => Err((class, seen[class])),
        None => Ok(rows),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Dataset;
    use crate::record::Record;
    use crate::sources::idx::images::IdxImages;

    #[test]
    fn rows_are_counted_within_their_class() {
        let labels = [0, 1, 0, 0, 1, 1, 0];
        assert_eq!(rows_per_class(&labels, 2, &(1..3)), Ok(vec![2, 3, 4, 5]));
        assert_eq!(rows_per_class(&labels, 2, &(0..4)), Err((1, 3)));
    }

    #[test]
    fn a_subset_is_a_smaller_set_of_the_same_form() {
        let (full, small) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        for (split, per_class) in [(Split::Train, 5), (Split::Test, 2)] {
            let labels: Vec<u8> = (0..per_class * 10).map(|row| (row % 10) as u8).collect();
            let pixels = (0..labels.len() * 4).map(|i| (i / 4) as u8).collect();
            let [images_name, labels_name] = file_names(split).unwrap();
            let images = IdxImages::new(2, 2, pixels).unwrap();
            write_idx_images(&full.path().join(images_name), &images).unwrap();
            write_idx_labels(&full.path().join(labels_name), &labels).unwrap();
        }
        let subset = FashionSubset {
            train: 3..5,
            test: 0..1,
        };
        assert_eq!(subset.write(full.path(), small.path()).unwrap(), (20, 10));
        let (big, small) = (
            FashionMnist::open(full.path()).unwrap(),
            FashionMnist::open(small.path()).unwrap(),
        );
        let pixels = |record: &Record| match &record.image {
            visrl_core::ImageSource::Gray { pixels, .. } => pixels.clone(),
            other => panic!("{other:?}"),
        };
        let (big, small) = (
            big.records(Split::Train).unwrap(),
            small.records(Split::Train).unwrap(),
        );
        for (row, record) in small.iter().enumerate() {
            assert_eq!(record.label, big[30 + row].label);
            assert_eq!(pixels(record), pixels(&big[30 + row]));
        }
        let error = fashion_subset(full.path(), full.path()).unwrap_err();
        assert!(matches!(
            error,
            Error::ClassTooSmall {
                class: 0,
                found: 5,
                needed: 1032,
                ..
            }
        ));
    }
}
