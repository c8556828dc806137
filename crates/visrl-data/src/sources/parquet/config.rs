use serde::{Deserialize, Serialize};

use crate::sources::parquet::limits::ParquetLimits;
use crate::split::Split;

/// A data set in parquet files, as the Hugging Face hub has them: one row per image, with the
/// columns `image` (a structure of `bytes` and `path`), `problem` (the question) and `solution` (the
/// class name, by [`plain_label`](crate::plain_label)). The paper's own 4-shot sets are of this form.
///
/// It is [`RowsConfig`](crate::RowsConfig) with these three columns by name: an image stands where
/// its mark `<image>` stands, and a list of choices at the end of a problem is asked again by the
/// template.
///
/// A folder is a data set too: all its `*.parquet` files, or those in its folder `data`, in the
/// order of their names. A file whose name begins with a split's ([`Split::named`]) holds that split,
/// so `train-00000-of-00002.parquet` and its neighbours come together.
///
/// The solution may also be a column of class numbers, as in the hub's image classification sets
/// (`solution: "label"`); the names come from [`ParquetConfig::classes`], or from the note that the
/// hub's library leaves in the file. Without either a number's digits are the class.
///
/// Read are pages without compression, or compressed by snappy or zstd, in plain or dictionary
/// encoding: what the usual writers make of such columns.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParquetConfig {
    /// The column of images: a structure of `bytes` and `path`, or the encoded bytes themselves. A
    /// row without bytes is an image file at `path` below the folder of the parquet file.
    pub image: String,
    /// The column of questions. It may be missing if `question` is set.
    pub problem: String,
    /// The column of class names or class numbers.
    pub solution: String,
    /// Asked about every image in place of the column of questions, which is then not read.
    pub question: Option<String>,
    /// The class names in label order, if their order matters or some have no row; otherwise the
    /// solutions of all files, sorted.
    pub classes: Option<Vec<String>>,
    /// The split of all files, in place of what their names say; a name that says nothing means
    /// training.
    pub split: Option<Split>,
    /// How much is read at most.
    pub limits: ParquetLimits,
}

impl Default for ParquetConfig {
    fn default() -> Self {
        Self {
            image: "image".into(),
            problem: "problem".into(),
            solution: "solution".into(),
            question: None,
            classes: None,
            split: None,
            limits: ParquetLimits::default(),
        }
    }
}
