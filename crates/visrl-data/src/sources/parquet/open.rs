use std::path::Path;

use crate::error::Error;
use crate::memory::MemoryDataset;
use crate::sources::parquet::config::ParquetConfig;
use crate::sources::questions::OBJECT_QUESTION;
use crate::sources::rows::{ColumnNames, OnlyParquet, RowsConfig, open_rows};

impl ParquetConfig {
    /// Reads a parquet file, or all those of a folder, as [`RowsConfig`] reads rows. The data set is
    /// named like the file or the folder; a record's id is its split and number, such as `train[3]`,
    /// or the path of its image.
    ///
    /// The encoded images are held in memory, so that a row group is decompressed once; their sum
    /// is limited by [`ParquetLimits::total_bytes`](crate::ParquetLimits::total_bytes). Pixels are
    /// decoded late, as always.
    ///
    /// # Errors
    ///
    /// Those of [`RowsConfig::open`].
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let question = match self.question {
            None => Some(self.problem.clone()),
            Some(_) => None,
        };
        let rows = RowsConfig {
            question: self.question.as_deref().unwrap_or(OBJECT_QUESTION).into(),
            columns: ColumnNames {
                question,
                answer: Some(self.solution.clone()),
                images: Some(self.image.clone()),
                system: None,
            },
            classes: self.classes.clone(),
            split: self.split,
            limits: self.limits,
            ..RowsConfig::default()
        };
        let only = OnlyParquet {
            not_asked: self.question.is_some().then_some(&self.problem),
        };
        open_rows(&rows, path.as_ref(), Some(only))
    }
}
