use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cv_bench_row::{CvBenchRow, read_json_lines, read_parquet};
use crate::letters::letter;
use crate::{Dataset, Error, MemoryDataset, ParquetLimits, Record, Split};

/// What a question of CV-Bench is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum CvBenchTask {
    /// How many there are; 2D.
    Count,
    /// Where one thing is as seen from another; 2D.
    Relation,
    /// Which of two is closer to the camera; 3D.
    Depth,
    /// Which of two is closer to a third; 3D.
    Distance,
}

impl CvBenchTask {
    /// The four tasks, in the order of the paper's tables.
    pub const ALL: [Self; 4] = [Self::Count, Self::Relation, Self::Depth, Self::Distance];

    /// The task's name in CV-Bench's files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count => "Count",
            Self::Relation => "Relation",
            Self::Depth => "Depth",
            Self::Distance => "Distance",
        }
    }

    /// The task of a name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|task| task.as_str() == name)
    }
}

impl fmt::Display for CvBenchTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// CV-Bench (Tong et al., "Cambrian-1", NeurIPS 2024): 2638 multiple-choice questions about
/// pictures, in four tasks.
///
/// Opened are its parquet files (with the images inside) or its JSON lines (`filename` is a path
/// below the file's folder), or the folder that holds them: there `test.parquet`, `test_2d.parquet`
/// with `test_3d.parquet`, `test.jsonl` or `test_2d.jsonl` with `test_3d.jsonl`, whichever comes
/// first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CvBenchConfig {
    /// The tasks to keep; empty keeps all.
    pub tasks: Vec<CvBenchTask>,
    /// How much of a parquet file is read at most.
    pub limits: ParquetLimits,
}

impl CvBenchConfig {
    /// Reads the questions into the test split.
    ///
    /// A record's question is the row's `prompt`, which spells out the options (without one it is
    /// made in the same form); its choices are the row's, and its class is the letter of the right
    /// one, such as `(B)`. Ask with
    /// [`PromptTemplate::multiple_choice`](crate::PromptTemplate::multiple_choice), so that the
    /// options are not listed twice.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`], [`Error::Io`]; [`Error::Row`] with the field of a row that cannot be
    /// used; [`Error::UnknownLabel`] for an answer that is no letter of the row's choices;
    /// [`Error::ImagePath`], [`Error::TooLarge`], and [`Error::Parquet`] for a parquet file that
    /// is damaged or has other columns.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<CvBench, Error> {
        let path = path.as_ref();
        let mut rows = Vec::new();
        let mut bytes = 0;
        for file in files(path)? {
            let number = rows.len();
            let found = match file.extension().is_some_and(|end| end == "parquet") {
                true => read_parquet(&file, self.limits, number, &mut bytes)?,
                false => read_json_lines(&file)?,
            };
            rows.extend(found);
        }
        rows.retain(|row| self.tasks.is_empty() || self.tasks.contains(&row.facts.task));
        CvBench::new(rows)
    }
}

/// The files of a folder, or the file itself.
fn files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    for ending in ["parquet", "jsonl"] {
        let [whole, flat, deep] = ["test", "test_2d", "test_3d"].map(|name| {
            let mut file = path.join(name);
            file.set_extension(ending);
            file
        });
        if whole.is_file() {
            return Ok(vec![whole]);
        }
        if flat.is_file() || deep.is_file() {
            let both = [flat, deep].into_iter();
            return Ok(both.filter(|file| file.is_file()).collect());
        }
    }
    Err(Error::Missing {
        path: path.to_path_buf(),
        hint: "none of CV-Bench's files is here: test.parquet, test_2d.parquet, test_3d.parquet, \
               or the same with the ending jsonl"
            .into(),
    })
}

/// What CV-Bench says of a question beside the question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvBenchFacts {
    /// The task.
    pub task: CvBenchTask,
    /// Whether the question is about the plane or about space: `2D` or `3D`.
    pub kind: String,
    /// The data set that the picture is from, such as `ADE20K`, `COCO` or `Omni3D`; CV-Bench's
    /// 2D accuracy is the mean over the first two.
    pub source: String,
}

/// CV-Bench's questions: a data set with a test split only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CvBench {
    dataset: MemoryDataset,
    facts: Vec<CvBenchFacts>,
}

impl CvBench {
    fn new(rows: Vec<CvBenchRow>) -> Result<Self, Error> {
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
