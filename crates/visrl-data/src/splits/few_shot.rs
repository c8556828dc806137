use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::split::Split;
use crate::splits::python_random::PythonRandom;

/// The most images per class in the validation part of a few-shot draw.
pub const MAX_VAL_SHOTS: usize = 4;

/// A few-shot draw: so many images of each class.
///
/// This is `generate_fewshot_dataset` of Dassl as CoOp uses it, on Python's generator: the draw of
/// a seed is the published one, image by image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FewShot {
    /// Images per class; the paper takes 4.
    pub shots: usize,
    /// The seed of the draw; CoOp publishes 1, 2 and 3.
    pub seed: u64,
    /// Whether to draw `min(shots, 4)` validation images per class too, where there is a validation
    /// split. CoOp does so for all sets but ImageNet, whose validation images are its test set. The
    /// training draw is the same either way.
    pub val: bool,
}

impl Default for FewShot {
    fn default() -> Self {
        Self {
            shots: 4,
            seed: 1,
            val: true,
        }
    }
}

impl FewShot {
    /// A draw of training and validation images.
    pub fn new(shots: usize, seed: u64) -> Self {
        Self {
            shots,
            seed,
            ..Self::default()
        }
    }

    /// Draws from a data set. The test split stays whole, and so does a validation split that is
    /// not drawn from.
    ///
    /// Groups are taken by label in the order of their first record, the records of a group in
    /// file order. A group of fewer than `shots` records is taken whole. Validation goes on with
    /// the same stream of random numbers. The draw is over all classes: to get CoOp's base or new
    /// draw, apply [`base_new`](crate::base_new) to the result, not to the input.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when `shots` is 0, [`Error::NoSplit`] when there is no training split;
    /// those of [`Dataset::records`].
    pub fn draw(&self, dataset: &dyn Dataset) -> Result<MemoryDataset, Error> {
        if self.shots == 0 {
            let message = "0 images per class leave nothing to train on; give at least 1".into();
            return Err(Error::Config {
                field: "shots",
                message,
            });
        }
        let mut random = PythonRandom::new(self.seed);
        let classes = dataset.classes().iter().map(String::as_str);
        let train = dataset.records(Split::Train)?;
        let mut drawn = MemoryDataset::like(dataset, classes)
            .with_split(Split::Train, sample(train, self.shots, &mut random))?;
        if let Some(val) = dataset.records_if_any(Split::Val)? {
            let shots = self.shots.min(MAX_VAL_SHOTS);
            let val = match self.val {
                true => sample(val, shots, &mut random),
                false => val.to_vec(),
            };
            drawn = drawn.with_split(Split::Val, val)?;
        }
        match dataset.records_if_any(Split::Test)? {
            Some(test) => drawn.with_split(Split::Test, test.to_vec()),
            None => Ok(drawn),
        }
    }
}

/// [`FewShot::draw`] of training and validation images.
///
/// # Errors
///
/// Those of [`FewShot::draw`].
pub fn few_shot(dataset: &dyn Dataset, shots: usize, seed: u64) -> Result<MemoryDataset, Error> {
    FewShot::new(shots, seed).draw(dataset)
}

fn sample(records: &[Record], shots: usize, random: &mut PythonRandom) -> Vec<Record> {
    let mut place = HashMap::new();
    let mut groups: Vec<Vec<&Record>> = Vec::new();
    for record in records {
        let at = *place.entry(record.label).or_insert(groups.len());
        if at == groups.len() {
            groups.push(Vec::new());
        }
        groups[at].push(record);
    }
    let most = groups.len().saturating_mul(shots);
    let mut drawn = Vec::with_capacity(most.min(records.len()));
    for group in groups {
        match random.sample(group.len(), shots) {
            Some(places) => drawn.extend(places.into_iter().map(|i| group[i].clone())),
            None => drawn.extend(group.into_iter().cloned()),
        }
    }
    drawn
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;

    fn dataset(labels: &[usize]) -> MemoryDataset {
        let records: Vec<Record> = labels
            .iter()
            .enumerate()
            .map(|(i, &label)| Record::new(i.to_string(), ImageSource::path("x.png"), label))
            .collect();
        MemoryDataset::new("d", ["a", "b", "c"], "?")
            .with_split(Split::Train, records.clone())
            .and_then(|d| d.with_split(Split::Val, records.clone()))
            .and_then(|d| d.with_split(Split::Test, records))
            .unwrap()
    }

    #[test]
    fn groups_come_in_order_of_their_first_record_and_small_ones_whole() {
        let full = dataset(&[2, 0, 2, 0, 0, 2, 1]);
        let drawn = few_shot(&full, 2, 1).unwrap();
        let labels: Vec<usize> = drawn
            .records(Split::Train)
            .unwrap()
            .iter()
            .map(|r| r.label)
            .collect();
        assert_eq!(labels, [2, 2, 0, 0, 1]);
        assert_eq!(drawn.records(Split::Test).unwrap().len(), 7);
        assert_eq!(drawn, few_shot(&full, 2, 1).unwrap());
        assert!((2..20).any(|seed| few_shot(&full, 2, seed).unwrap() != drawn));
    }

    #[test]
    fn validation_takes_at_most_four_of_a_class() {
        let full = dataset(&[0; 30]);
        let drawn = few_shot(&full, 8, 1).unwrap();
        assert_eq!(drawn.records(Split::Train).unwrap().len(), 8);
        assert_eq!(drawn.records(Split::Val).unwrap().len(), 4);
        let train_only = FewShot {
            val: false,
            ..FewShot::new(8, 1)
        }
        .draw(&full)
        .unwrap();
        assert_eq!(train_only.records(Split::Val).unwrap().len(), 30);
        assert_eq!(
            train_only.records(Split::Train).unwrap(),
            drawn.records(Split::Train).unwrap()
        );
    }

    #[test]
    fn zero_shots_and_a_missing_training_split_are_refused() {
        assert!(matches!(
            few_shot(&dataset(&[0]), 0, 1),
            Err(Error::Config { .. })
        ));
        let all = few_shot(&dataset(&[0, 0, 1]), usize::MAX, 1).unwrap();
        assert_eq!(all.records(Split::Train).unwrap().len(), 3);
        let empty = MemoryDataset::new("d", ["a"], "?");
        assert!(matches!(few_shot(&empty, 1, 1), Err(Error::NoSplit { .. })));
    }
}
