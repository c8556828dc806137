use visrl_core::{Domain, Example, SeedStream};
use visrl_data::{ChoiceList, Dataset, Record};

use crate::error::Error;

/// Deals the examples of training steps: epochs over the records, each in a new order, each
/// drawing new lists of choices.
///
/// An example is a function of the seed and its number alone, so a resumed run goes on with the
/// same examples.
#[derive(Debug)]
pub struct ExampleDealer<'a, D: ?Sized> {
    dataset: &'a D,
    records: &'a [Record],
    choices: ChoiceList,
    stream: SeedStream,
}

impl<'a, D: Dataset + ?Sized> ExampleDealer<'a, D> {
    /// Deals these records of a data set.
    ///
    /// # Errors
    /// [`Error::Config`] when there are none.
    pub fn new(
        dataset: &'a D,
        records: &'a [Record],
        choices: ChoiceList,
        seed: u64,
    ) -> Result<Self, Error> {
        if records.is_empty() {
            return Err(Error::config(
                "records",
                "are empty: there is nothing to train on",
            ));
        }
        Ok(Self {
            dataset,
            records,
            choices,
            stream: SeedStream::new(seed, Domain::Data),
        })
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
    /// What the data set says of a record.
    pub fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error> {
        let size = self.records.len();
        let mut order: Option<(usize, Vec<usize>)> = None;
        (from..from + count)
            .map(|number| {
                let epoch = number / size;
                if order.as_ref().is_none_or(|(of, _)| *of != epoch) {
                    let mut fresh: Vec<usize> = (0..size).collect();
                    self.stream.derive(epoch as u64).rng().shuffle(&mut fresh);
                    order = Some((epoch, fresh));
                }
                let index = order.as_ref().map_or(0, |(_, order)| order[number % size]);
                let record = &self.records[index];
                let (round, place) = (epoch as u64, index as u64);
                Ok(self
                    .dataset
                    .draw_example(record, &self.choices, round, place)?)
            })
            .collect()
    }
}

/// Gives the examples of a run by their numbers.
pub trait Deal {
    /// The `count` examples from number `from` on.
    ///
    /// # Errors
    /// What stands in the way of making one.
    fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error>;
}

impl<D: Dataset + ?Sized> Deal for ExampleDealer<'_, D> {
    fn deal(&self, from: usize, count: usize) -> Result<Vec<Example>, Error> {
        Self::deal(self, from, count)
    }
}
