use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::split::Split;

/// Which half of the classes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Classes {
    /// All of them.
    #[default]
    All,
    /// The first half, rounded up: what base-to-new runs train on.
    Base,
    /// The rest: classes not seen in training.
    New,
}

/// Keeps half of the classes, as CoOp's base-to-new protocol does.
///
/// The labels that occur in training are sorted; base is the first `ceil(n / 2)` of them, new the
/// rest. The labels kept are renumbered from 0, rows of other labels are dropped from every split
/// and the order of the rows is kept.
///
/// # Errors
///
/// [`Error::NoSplit`] of a half when there is no training split to count classes in; those of
/// [`Dataset::records`].
pub fn base_new(dataset: &dyn Dataset, classes: Classes) -> Result<MemoryDataset, Error> {
    let labels = || -> Result<Vec<usize>, Error> {
        let records = dataset.records(Split::Train)?.iter();
        let labels: BTreeSet<usize> = records.map(|record| record.label).collect();
        Ok(labels.into_iter().collect())
    };
    let kept = match classes {
        Classes::All => return MemoryDataset::copy_of(dataset),
        Classes::Base => {
            let mut labels = labels()?;
            labels.truncate(labels.len().div_ceil(2));
            labels
        }
        Classes::New => {
            let mut labels = labels()?;
            labels.split_off(labels.len().div_ceil(2))
        }
    };
    let names = kept
        .iter()
        .filter_map(|&label| dataset.classes().get(label).map(String::as_str));
    let mut part = MemoryDataset::like(dataset, names);
    let new_label: HashMap<usize, usize> = kept
        .iter()
        .enumerate()
        .map(|(new, &old)| (old, new))
        .collect();
    for split in Split::ALL {
        if let Some(records) = dataset.records_if_any(split)? {
            let rows = records.iter().filter_map(|record| {
                let label = *new_label.get(&record.label)?;
                Some(Record {
                    label,
                    ..record.clone()
                })
            });
            part = part.with_split(split, rows.collect())?;
        }
    }
    Ok(part)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use visrl_core::ImageSource;

    use super::*;

    fn dataset(train: &[usize], test: &[usize]) -> MemoryDataset {
        let rows = |labels: &[usize]| -> Vec<Record> {
            let ids = labels.iter().enumerate();
            ids.map(|(i, &l)| Record::new(i.to_string(), ImageSource::path("x"), l))
                .collect()
        };
        MemoryDataset::new("d", (0..9).map(|i| format!("c{i}")), "?")
            .with_split(Split::Train, rows(train))
            .and_then(|d| d.with_split(Split::Test, rows(test)))
            .unwrap()
    }

    #[test]
    fn halves_are_renumbered_and_keep_their_order() {
        let full = dataset(&[5, 1, 8, 5, 3, 1], &[3, 8, 0, 5]);
        let labels = |d: &MemoryDataset, split| -> Vec<usize> {
            d.records(split).unwrap().iter().map(|r| r.label).collect()
        };
        let base = base_new(&full, Classes::Base).unwrap();
        assert_eq!(base.classes(), ["c1", "c3"]);
        assert_eq!(labels(&base, Split::Train), [0, 1, 0]);
        assert_eq!(labels(&base, Split::Test), [1]);
        let new = base_new(&full, Classes::New).unwrap();
        assert_eq!(new.classes(), ["c5", "c8"]);
        assert_eq!(labels(&new, Split::Train), [0, 1, 0]);
        assert_eq!(labels(&new, Split::Test), [1, 0]);
        assert!(new.records(Split::Val).is_err());
        assert_eq!(base_new(&full, Classes::All).unwrap(), full);
        let tested = MemoryDataset::new("d", ["a"], "?").with_split(Split::Test, Vec::new());
        let tested = tested.unwrap();
        assert_eq!(base_new(&tested, Classes::All).unwrap(), tested);
        assert!(base_new(&tested, Classes::Base).is_err());
    }

    #[test]
    fn an_odd_class_goes_to_base() {
        let full = dataset(&[0, 1, 2], &[]);
        assert_eq!(base_new(&full, Classes::Base).unwrap().classes().len(), 2);
        assert_eq!(base_new(&full, Classes::New).unwrap().classes().len(), 1);
    }

    proptest! {
        #[test]
        fn base_and_new_share_out_every_training_row(
            train in prop::collection::vec(0usize..9, 0..60),
        ) {
            let full = dataset(&train, &train);
            let parts = [Classes::Base, Classes::New].map(|c| base_new(&full, c).unwrap());
            for split in [Split::Train, Split::Test] {
                let counts = parts.each_ref().map(|p| p.records(split).unwrap().len());
                prop_assert_eq!(counts.iter().sum::<usize>(), train.len());
            }
            for part in &parts {
                for record in part.records(Split::Train).unwrap() {
                    let old = train[record.id.parse::<usize>().unwrap()];
                    prop_assert_eq!(&part.classes()[record.label], &full.classes()[old]);
                }
            }
        }
    }
}
