use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::sources::cv_bench::dataset::CvBench;
use crate::sources::cv_bench::json_lines::read_json_lines;
#[cfg(feature = "parquet")]
use crate::sources::cv_bench::parquet::read_parquet;
#[cfg(not(feature = "parquet"))]
use crate::sources::cv_bench::row::CvBenchRow;
use crate::sources::cv_bench::task::CvBenchTask;
use crate::sources::parquet::limits::ParquetLimits;

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
    /// [`Error::Missing`], [`Error::File`]; [`Error::Row`] with the field of a row that cannot be
    /// used; [`Error::UnknownLabel`] for an answer that is no letter of the row's choices;
    /// [`Error::ImagePath`], [`Error::TooLarge`], and [`Error::Parquet`] for a parquet file that
    /// is damaged or has other columns, [`Error::Feature`] for one without the feature `parquet`.
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
        if rows.is_empty() {
            return Err(Error::no_row(path));
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

#[cfg(not(feature = "parquet"))]
fn read_parquet(
    path: &Path,
    _: ParquetLimits,
    _: usize,
    _: &mut u64,
) -> Result<Vec<CvBenchRow>, Error> {
    Err(Error::without_parquet(path))
}
