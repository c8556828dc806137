use visrl_core::{Domain, Example, SeedStream};

use crate::dataset::Dataset;
use crate::error::Error;
use crate::prompt::choices::ChoiceList;
use crate::prompt::list_schedule::ListSchedule;
use crate::record::Record;

/// Gives the examples of a run by their numbers, counted from 0 through the whole run.
pub trait ExampleSource {
    /// The `count` examples from number `from` on. The same numbers give the same examples, so
    /// that a resumed run goes on where it stopped.
    ///
    /// # Errors
    ///
    /// What stands in the way of making one.
    fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error>;
}

/// Deals the examples of training steps: epochs over the records, each in a new order, with lists
/// of choices as a [`ListSchedule`] says, by default new ones.
///
/// An example is a function of the seed and its number alone.
///
/// ```
/// use visrl_core::ImageSource;
/// use visrl_data::{ChoiceList, ChoiceRule, Error, ExampleDealer, MemoryDataset, Record};
///
/// let pets = MemoryDataset::new("pets", ["cat", "dog"], "Which pet?");
/// let photos = [0, 1, 1].map(|label| Record::new("photo", ImageSource::path("photo.png"), label));
/// let choices = ChoiceList::new(ChoiceRule::All, 100);
/// let dealer = ExampleDealer::new(&pets, &photos, choices, 100)?;
/// let epoch = dealer.deal(0, 3)?;
/// assert_eq!(epoch.iter().filter(|example| example.label == "dog").count(), 2);
/// assert_eq!(dealer.deal(1, 2)?, epoch[1..]);
/// # Ok::<(), Error>(())
/// ```
pub struct ExampleDealer<'a> {
    dataset: &'a dyn Dataset,
    records: &'a [Record],
    choices: ChoiceList,
    lists: ListSchedule,
    stream: SeedStream,
}

impl<'a> ExampleDealer<'a> {
    /// Deals these records of a data set.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] when there are none.
    pub fn new(
        dataset: &'a dyn Dataset,
        records: &'a [Record],
        choices: ChoiceList,
        seed: u64,
    ) -> Result<Self, Error> {
        if records.is_empty() {
            let name = dataset.name();
            let message = format!("there are none of `{name}`, so there is nothing to train on");
            return Err(Error::Config {
                field: "records",
                message,
            });
        }
        Ok(Self {
            dataset,
            records,
            choices,
            lists: ListSchedule::default(),
            stream: SeedStream::new(seed, Domain::Data),
        })
    }

    /// The same with lists of choices by another schedule.
    #[must_use]
    pub fn with_lists(self, lists: ListSchedule) -> Self {
        Self { lists, ..self }
    }

    /// Examples of an epoch.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are none; [`new`](Self::new) refuses that.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The `count` examples from number `from` on, counted through all epochs.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::draw_example`].
    pub fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error> {
        let size = self.records.len();
        let mut order: Option<(usize, Vec<usize>)> = None;
        (from..from + count)
            .map(|number| {
                let epoch = number / size;
                if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                    order = Some((epoch, self.order(epoch)));
                }
                let index = order.as_ref().map_or(0, |(_, order)| order[number % size]);
                let (round, place) = (self.lists.round(epoch as u64), index as u64);
                self.dataset
                    .draw_example(&self.records[index], &self.choices, round, place)
            })
            .collect()
    }

    /// The order of the records in an epoch.
    fn order(&self, epoch: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.records.len()).collect();
        self.stream.derive(epoch as u64).rng().shuffle(&mut order);
        order
    }
}

impl std::fmt::Debug for ExampleDealer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ExampleDealer")
            .field("dataset", &self.dataset.name())
            .field("records", &self.records.len())
            .field("choices", &self.choices)
            .field("lists", &self.lists)
            .finish_non_exhaustive()
    }
}

impl ExampleSource for ExampleDealer<'_> {
    fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error> {
        Self::deal(self, from, count)
    }
}

#[cfg(test)]
mod tests {
    use visrl_core::ImageSource;

    use super::*;
    use crate::memory::MemoryDataset;
    use crate::prompt::choices::ChoiceRule;

    fn ids(examples: &[Example]) -> Vec<&str> {
        examples.iter().map(|example| &example.id[..]).collect()
    }

    #[test]
    fn each_epoch_deals_every_record_once_in_an_order_of_its_own() {
        let names = ["a", "b", "c", "d", "e"];
        let letters = MemoryDataset::new("letters", names, "Which letter?");
        let record = |label: usize| Record::new(names[label], ImageSource::path("x.png"), label);
        let records: Vec<Record> = (0..5).map(record).collect();
        let choices = ChoiceList::new(ChoiceRule::All, 7);
        let dealer = ExampleDealer::new(&letters, &records, choices, 7).unwrap();
        assert_eq!((dealer.len(), dealer.is_empty()), (5, false));
        let run = dealer.deal(0, 50).unwrap();
        let epochs: Vec<Vec<&str>> = run.chunks(5).map(ids).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, names);
        }
        assert!(epochs.iter().any(|epoch| *epoch != epochs[0]));
        // What runs of this seed were dealt is what they are dealt when they are repeated.
        assert_eq!(epochs[0].concat() + &epochs[1].concat(), "caedbdaebc");
        // The same numbers again, across the border of two epochs.
        assert_eq!(dealer.deal(3, 4).unwrap(), run[3..7]);
    }

    #[test]
    fn a_fixed_list_is_that_of_the_first_epoch() {
        let names: Vec<String> = (0..60).map(|i| format!("class {i}")).collect();
        let data = MemoryDataset::new("d", &names, "Which?");
        let record = |label: usize| Record::new(&names[label], ImageSource::path("x.png"), label);
        let records: Vec<Record> = (0..5).map(record).collect();
        let rule = ChoiceRule::Fraction {
            fraction: 0.4,
            all_below: 10,
            at_most: 100,
        };
        let lists = |schedule| {
            let choices = ChoiceList::new(rule, 7);
            let dealer = ExampleDealer::new(&data, &records, choices, 7).unwrap();
            let run = dealer.with_lists(schedule).deal(0, 15).unwrap();
            let mut epochs: Vec<Vec<Example>> = run.chunks(5).map(<[Example]>::to_vec).collect();
            for epoch in &mut epochs {
                epoch.sort_by(|a, b| a.id.cmp(&b.id));
            }
            epochs
        };
        let (fixed, new) = (lists(ListSchedule::Fixed), lists(ListSchedule::EachEpoch));
        assert_eq!(fixed[0], new[0]);
        assert!(fixed.iter().all(|epoch| *epoch == fixed[0]));
        let same =
            |a: &[Example], b: &[Example]| a.iter().zip(b).any(|(a, b)| a.choices == b.choices);
        assert!(!same(&new[0], &new[1]) && !same(&new[1], &new[2]));
    }

    #[test]
    fn a_data_set_without_records_is_refused() {
        let none = MemoryDataset::new("none", ["a"], "?");
        let choices = ChoiceList::new(ChoiceRule::All, 1);
        let error = ExampleDealer::new(&none, &[], choices, 1).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("field `records`: there are none of `none`"),
            "{message}"
        );
    }
}
