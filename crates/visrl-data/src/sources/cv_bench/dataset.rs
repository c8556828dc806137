use crate::dataset::Dataset;
use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::prompt::letters::letter;
use crate::record::Record;
use crate::sources::cv_bench::row::CvBenchRow;
use crate::sources::cv_bench::task::{CvBenchFacts, CvBenchTask};
use crate::split::Split;

/// CV-Bench's questions: a data set with a test split only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvBench {
    dataset: MemoryDataset,
    facts: Vec<CvBenchFacts>,
}

impl CvBench {
    pub(crate) fn new(rows: Vec<CvBenchRow>) -> Result<Self, Error> {
        let most = rows.iter().map(|row| row.choices.len()).max();
        let classes = (0..most.unwrap_or(0)).map(letter);
        let question = "Select from the following choices.";
        let mut records = Vec::with_capacity(rows.len());
        let mut facts = Vec::with_capacity(rows.len());
        for row in rows {
            let record = Record::new(row.id, row.image, row.label);
            let record = record.with_question(row.question);
            records.push(record.with_choices(row.choices));
            facts.push(row.facts);
        }
        let dataset = MemoryDataset::new("cv-bench", classes, question);
        let dataset = dataset.with_split(Split::Test, records)?;
        Ok(Self { dataset, facts })
    }

    /// What is known of each question, in the order of the test records.
    pub fn facts(&self) -> &[CvBenchFacts] {
        &self.facts
    }

    /// The questions of one task, as a data set of its own.
    ///
    /// # Errors
    ///
    /// None for a data set that was opened; those of [`MemoryDataset::with_split`].
    pub fn of_task(&self, task: CvBenchTask) -> Result<MemoryDataset, Error> {
        let records = self.records(Split::Test)?.iter().zip(&self.facts);
        let records = records.filter(|(_, facts)| facts.task == task);
        let records = records.map(|(record, _)| record.clone()).collect();
        let classes = self.classes().iter().map(String::as_str);
        let name = format!("{}/{task}", self.name());
        MemoryDataset::new(name, classes, self.question()).with_split(Split::Test, records)
    }
}

impl Dataset for CvBench {
    fn name(&self) -> &str {
        self.dataset.name()
    }

    fn classes(&self) -> &[String] {
        self.dataset.classes()
    }

    fn question(&self) -> &str {
        self.dataset.question()
    }

    fn records(&self, split: Split) -> Result<&[Record], Error> {
        self.dataset.records(split)
    }
}
