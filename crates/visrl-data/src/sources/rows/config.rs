use serde::{Deserialize, Serialize};

use crate::sources::parquet::limits::ParquetLimits;
use crate::sources::questions::OBJECT_QUESTION;
use crate::sources::rows::columns::ColumnNames;
use crate::sources::rows::tool::Tool;
use crate::split::Split;

/// Rows of questions about images: JSON lines, a JSON array or parquet, as ms-swift, LLaMA-Factory,
/// TRL, EasyR1, verl, VLM-R1 and CLS-RL write them, or as simple as `{"image": "a/1.png", "label":
/// "pear"}`; LLaMA-Factory's `dataset_info.json` and VLM-R1's list in YAML, which name such files.
///
/// What is the question, the answer, the images and the system turn is found by a table of columns
/// and can be said by name ([`ColumnNames`]). Images stand in the question where their marks
/// `<image>` stand. `docs/data.md` has the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RowsConfig {
    /// The question for rows that ask none.
    pub question: String,
    /// Columns by name, where the usual ones are not meant.
    pub columns: ColumnNames,
    /// The class names in label order, if their order matters or some have no row; otherwise the
    /// labels of the file, sorted. They name the numbers of a column of numbers.
    pub classes: Option<Vec<String>>,
    /// What paths of images are relative to: a folder, itself relative to that of the file, or else
    /// to the working directory. Left out, the folder of the file (of `dataset_info.json`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_folder: Option<String>,
    /// Allow absolute paths and `..` in rows. Off by default, so that a file from elsewhere cannot
    /// point at images outside its folder.
    pub any_path: bool,
    /// The entry of `dataset_info.json`; the only one when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset: Option<String>,
    /// The tool the file was written for, where two read the same columns differently.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<Tool>,
    /// The split of rows that name none, in place of what a file's name begins with; training where
    /// that says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<Split>,
    /// How much of parquet files, and of images in memory, is read at most.
    pub limits: ParquetLimits,
}

impl Default for RowsConfig {
    fn default() -> Self {
        Self {
            question: OBJECT_QUESTION.into(),
            columns: ColumnNames::default(),
            classes: None,
            images_folder: None,
            any_path: false,
            dataset: None,
            tool: None,
            split: None,
            limits: ParquetLimits::default(),
        }
    }
}
