use std::collections::BTreeSet;

use visrl_core::{Domain, SeedStream, warn_once};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::split::Split;

/// Tells the stream apart from others of [`Domain::Data`].
const HOLD_OUT: u64 = 0x686f_6c64_6f75_7431;

/// Makes a part of the training images the test split of a data set that has none: of each class
/// this share, rounded, and one at least; where a class has a single image, the share of all
/// images. Which they are depends on the seed and on their order alone; both splits keep the order.
///
/// # Errors
/// [`Error::Config`] with `test_fraction` for a share that is not between 0 and 1, for a data set
/// with a test split, and when either split would be empty; those of [`Dataset::records`].
pub fn hold_out(data: &dyn Dataset, fraction: f64, seed: u64) -> Result<MemoryDataset, Error> {
    let fail = |message: String| Error::Config {
        field: "test_fraction",
        message,
    };
    if !(fraction > 0.0 && fraction < 1.0) {
        return Err(fail(format!(
            "is {fraction}, expected more than 0 and less than 1"
        )));
    }
    let name = data.name();
    if data
        .records_if_any(Split::Test)?
        .is_some_and(|test| !test.is_empty())
    {
        return Err(fail(format!(
            "is given, but `{name}` has a test split; leave it out"
        )));
    }
    let records = data.records(Split::Train)?;
    let mut classes = vec![Vec::new(); data.classes().len()];
    for (place, record) in records.iter().enumerate() {
        if let Some(class) = classes.get_mut(record.label) {
            class.push(place);
        }
    }
    if classes.iter().any(|class| class.len() == 1) {
        classes = vec![(0..records.len()).collect()];
    }
    let stream = SeedStream::new(seed, Domain::Data).derive(HOLD_OUT);
    let mut held = vec![false; records.len()];
    for (number, class) in classes
        .iter_mut()
        .enumerate()
        .filter(|(_, class)| class.len() > 1)
    {
        let count = (fraction * class.len() as f64).round() as usize;
        let count = count.clamp(1, class.len() - 1);
        stream.derive(number as u64).rng().shuffle(class);
        class
            .iter()
            .take(count)
            .for_each(|place| held[*place] = true);
    }
    let part = |of: bool| -> Vec<Record> {
        let records = records.iter().zip(&held);
        let records = records.filter(|(_, held)| **held == of);
        records.map(|(record, _)| record.clone()).collect()
    };
    let (train, test) = (part(false), part(true));
    if train.is_empty() || test.is_empty() {
        return Err(fail(format!(
            "leaves a split empty: `{name}` has {} training images",
            records.len()
        )));
    }
    let labels =
        |part: &[Record]| -> BTreeSet<usize> { part.iter().map(|record| record.label).collect() };
    let untrained = &labels(&test) - &labels(&train);
    let mut names = untrained
        .iter()
        .filter_map(|label| data.classes().get(*label));
    if let Some(first) = names.next() {
        let more = match untrained.len() - 1 {
            0 => String::new(),
            more => format!(" (and {more} more)"),
        };
        warn_once(format!(
            "`test_fraction` leaves the class `{first}`{more} of `{name}` without a training image: \
             hold less out, or give the class more images"
        ));
    }
    let percent = (1e4 * fraction).round() / 100.0;
    let name = format!("{name} ({percent} % held out as test by seed {seed})");
    MemoryDataset::copy_of(data)?
        .with_name(name)
        .with_split(Split::Train, train)?
        .with_split(Split::Test, test)
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;

    fn data(labels: &[usize]) -> MemoryDataset {
        let records = labels
            .iter()
            .enumerate()
            .map(|(place, &label)| Record::new(place.to_string(), ImageSource::path("x"), label));
        let data = MemoryDataset::new("d", ["a", "b", "c"], "Which?");
        data.with_split(Split::Train, records.collect()).unwrap()
    }

    #[test]
    fn a_share_of_each_class_is_held_out() {
        let labels: Vec<usize> = (0..60).map(|place| usize::from(place % 3 == 0)).collect();
        let whole = data(&labels);
        let split = hold_out(&whole, 0.2, 7).unwrap();
        assert_eq!(split.name(), "d (20 % held out as test by seed 7)");
        let test = split.records(Split::Test).unwrap();
        let of = |label| test.iter().filter(|record| record.label == label).count();
        assert_eq!((of(0), of(1)), (8, 4));
        let train = split.records(Split::Train).unwrap();
        assert_eq!(train.len(), 48);
        assert!(train.iter().all(|record| !test.contains(record)));
        assert_eq!(hold_out(&whole, 0.2, 7).unwrap(), split);
        let other = hold_out(&whole, 0.2, 8).unwrap();
        assert_ne!(other.records(Split::Test).unwrap(), test);
        // A class of one image: the share is of all.
        let single = hold_out(&data(&[0, 0, 0, 1, 2]), 0.4, 7).unwrap();
        assert_eq!(single.records(Split::Test).unwrap().len(), 2);
        let (_, told) = visrl_testing::warnings_of(|| hold_out(&data(&[0, 1, 2]), 0.7, 7));
        assert!(
            told.len() == 1 && told[0].contains("(and 1 more) of `d` without a training image"),
            "{told:?}"
        );
    }

    #[test]
    fn what_cannot_be_held_out_is_refused() {
        for (labels, fraction) in [(&[0, 0][..], 0.0), (&[0, 0], 1.0), (&[0, 0], f64::NAN)] {
            let message = hold_out(&data(labels), fraction, 1)
                .unwrap_err()
                .to_string();
            assert!(
                message.starts_with("field `test_fraction`: is"),
                "{message}"
            );
        }
        let message = hold_out(&data(&[0]), 0.5, 1).unwrap_err().to_string();
        assert!(message.contains("leaves a split empty"), "{message}");
        let split = hold_out(&data(&[0, 0]), 0.5, 1).unwrap();
        let message = hold_out(&split, 0.5, 1).unwrap_err().to_string();
        assert!(message.contains("has a test split"), "{message}");
    }
}
