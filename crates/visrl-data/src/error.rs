use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use visrl_core::files::FileError;

use crate::split::Split;

/// What can be wrong with a data set, a split or a template.
///
/// Every variant names the file (or the data set) and the place in it, and says what was expected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written, or a JSON file does not parse.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file or folder that the data set needs is not there.
    #[error("{}: not found: {hint}", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
        /// What it is for and what to do.
        hint: String,
    },
    /// A row of a text or JSON file cannot be used.
    #[error("{}: {row}: field `{field}`: {message}", path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Which row, such as `train[3]` or `line 4`.
        row: String,
        /// The field of the row.
        field: Box<str>,
        /// What is wrong with it and what is expected.
        message: String,
    },
    /// A row points at an image outside the folder of the data set.
    #[error(
        "{}: {row}: field `{field}`: `{value}` is not a relative path below the data set's folder; \
         absolute paths and `..` are refused", path.display()
    )]
    ImagePath {
        /// The file.
        path: PathBuf,
        /// Which row.
        row: String,
        /// The field of the row.
        field: Box<str>,
        /// The path as it stands there.
        value: String,
    },
    /// A label is not one of the classes.
    #[error("{}: {row}: label {label} is out of range, there are {classes} classes", path.display())]
    LabelRange {
        /// The file, or the name of the data set.
        path: PathBuf,
        /// Which row.
        row: String,
        /// The label found.
        label: i64,
        /// How many classes there are; labels are `0..classes`.
        classes: usize,
    },
    /// One label comes with two class names.
    #[error(
        "{}: {row}: label {label} is named `{second}`, but `{first}` in an earlier row",
        path.display()
    )]
    LabelNames {
        /// The file.
        path: PathBuf,
        /// Which row.
        row: String,
        /// The label.
        label: usize,
        /// The name met first.
        first: String,
        /// The other name.
        second: String,
    },
    /// A label is not among the classes or choices that there are.
    #[error(
        "{}: {row}: field `{field}`: `{label}` is not one of the {of}; {advice}", path.display()
    )]
    UnknownLabel {
        /// The file, or the name of the data set.
        path: PathBuf,
        /// Which row.
        row: String,
        /// The field of the row.
        field: Box<str>,
        /// The label found.
        label: Box<str>,
        /// What it was looked for in, such as `classes given` or `choices [ a, b]`.
        of: Box<str>,
        /// What to do.
        advice: &'static str,
    },
    /// A list of classes has one name twice, so that a label would mean two classes.
    #[error(
        "{}: class `{name}` is both number {first} and number {second}; {advice}", path.display()
    )]
    DuplicateClass {
        /// The file, or the name of the data set.
        path: PathBuf,
        /// The name.
        name: String,
        /// Its place in the list, from 0.
        first: usize,
        /// Its other place.
        second: usize,
        /// What to do.
        advice: &'static str,
    },
    /// Two classes that are one to a reader, or to the tokenizer of a model.
    #[error("{}: the classes `{first}` and `{second}` {why}; {advice}", path.display())]
    AlikeClasses {
        /// The file or folder, or the name of the data set.
        path: PathBuf,
        /// One of them.
        first: Box<str>,
        /// The other.
        second: Box<str>,
        /// What makes them one.
        why: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// Something in a file is larger than a limit of the configuration.
    #[error(
        "{}: {row}: field `{field}`: {size} {unit}, the limit is {limit}; {advice}", path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Which row, row group or file.
        row: String,
        /// The field.
        field: Box<str>,
        /// Its size.
        size: u64,
        /// What `size` and `limit` count: `bytes` or `rows`.
        unit: &'static str,
        /// The largest size accepted.
        limit: u64,
        /// What to do.
        advice: &'static str,
    },
    /// A parquet file is damaged, or is not of the form expected.
    #[error("{}: {}{message}", path.display(), parquet_place(*row_group, column))]
    Parquet {
        /// The file.
        path: PathBuf,
        /// The row group, from 0; `None` for what concerns the whole file.
        row_group: Option<usize>,
        /// The column, such as `image.bytes`; empty for what concerns all of them.
        column: String,
        /// What is wrong and what is expected.
        message: String,
    },
    /// An IDX file starts with the wrong number.
    #[error("{}: field `magic`: found {found:#010x}, expected {expected:#010x}", path.display())]
    IdxMagic {
        /// The file.
        path: PathBuf,
        /// The number in the file.
        found: u32,
        /// The number of the kind of file expected.
        expected: u32,
    },
    /// An IDX file ends too early.
    #[error("{}: field `{field}`: truncated, {found} of {expected} bytes are there", path.display())]
    IdxTruncated {
        /// The file.
        path: PathBuf,
        /// The field that is cut.
        field: &'static str,
        /// The bytes the field needs.
        expected: u64,
        /// The bytes there are.
        found: u64,
    },
    /// An IDX file goes on after its last item.
    #[error("{}: field `{field}`: more data than the {expected} bytes of the header", path.display())]
    IdxTrailing {
        /// The file.
        path: PathBuf,
        /// The field that is too long.
        field: &'static str,
        /// The bytes that the header promises.
        expected: u64,
    },
    /// A size in the header of an IDX file is zero or beyond the limits.
    #[error("{}: field `{field}`: {value} is not in 1..={limit}", path.display())]
    IdxSize {
        /// The file.
        path: PathBuf,
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// The largest value accepted, from `IdxLimits`.
        limit: u64,
    },
    /// The image file and the label file do not belong together.
    #[error(
        "{}: field `count`: {image_count} images, but {label_count} labels in {}",
        images.display(), labels.display()
    )]
    CountMismatch {
        /// The file of images.
        images: PathBuf,
        /// Images in it.
        image_count: usize,
        /// The file of labels.
        labels: PathBuf,
        /// Labels in it.
        label_count: usize,
    },
    /// A class has fewer rows than were asked for.
    #[error("{}: class {class} has {found} rows, {needed} are needed", path.display())]
    ClassTooSmall {
        /// The file of labels.
        path: PathBuf,
        /// The class.
        class: usize,
        /// Rows of the class in the file.
        found: usize,
        /// Rows needed.
        needed: usize,
    },
    /// The data set does not have this split.
    #[error("data set `{dataset}` has no {split} split{}", no_split(*split))]
    NoSplit {
        /// The data set.
        dataset: String,
        /// The split asked for.
        split: Split,
    },
    /// What a data set of one's own says; made by [`Error::dataset`].
    #[error("data set `{dataset}`: {source}")]
    Dataset {
        /// The data set.
        dataset: String,
        /// What went wrong there.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file needs a part of visrl that was left out when it was built.
    #[error("{}: this program was built without the feature `{feature}`; {advice}", path.display())]
    Feature {
        /// The file.
        path: PathBuf,
        /// The feature of `visrl-data` that reads it.
        feature: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// A template cannot be used.
    #[error("template field `{field}`: {message}")]
    Template {
        /// The part of the template: `closed` or `open`.
        field: &'static str,
        /// What is wrong and what is allowed.
        message: String,
    },
    /// An argument or a value of a configuration cannot be used.
    #[error("field `{field}`: {message}")]
    Config {
        /// The field or argument.
        field: &'static str,
        /// What is wrong and what is expected.
        message: String,
    },
}

/// Where in a parquet file, as the start of a message.
fn parquet_place(row_group: Option<usize>, column: &str) -> String {
    let group = row_group.map_or(String::new(), |group| format!("row group {group}: "));
    match column {
        "" => group,
        column => format!("{group}column `{column}`: "),
    }
}

/// What to do without a test split.
fn no_split(split: Split) -> &'static str {
    match split {
        Split::Test => "; give other `test` data, or hold a part of these out by `test_fraction`",
        Split::Train => {
            "; give data with training images: a folder `train`, rows of the split train"
        }
        Split::Val => "",
    }
}

impl Error {
    /// The error of a data set of one's own: its name, and what went wrong, as an error or a text.
    pub fn dataset(
        dataset: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Dataset {
            dataset: dataset.into(),
            source: source.into(),
        }
    }

    /// The error of a file or a folder of rows that holds none.
    pub(crate) fn no_row(path: &Path) -> Self {
        Self::Row {
            path: path.to_path_buf(),
            row: "file".into(),
            field: "row".into(),
            message: "there is no row".into(),
        }
    }

    /// What a parquet file says to a program that cannot read it.
    #[cfg(not(feature = "parquet"))]
    pub(crate) fn without_parquet(path: &Path) -> Self {
        Self::Feature {
            path: path.to_path_buf(),
            feature: "parquet",
            advice: "build it with `--features parquet`",
        }
    }

    /// What a file says, where one that is not there gets a hint of its own.
    pub(crate) fn file(hint: &str) -> impl FnOnce(FileError) -> Self {
        let hint = hint.to_owned();
        move |error| match error {
            FileError::Io { path, source } if source.kind() == ErrorKind::NotFound => {
                Self::Missing { path, hint }
            }
            error => Self::File(error),
        }
    }

    /// An I/O error at a path, by [`Error::file`].
    pub(crate) fn io<'a>(
        path: &'a Path,
        hint: &'a str,
    ) -> impl FnOnce(std::io::Error) -> Self + 'a {
        move |source| Self::file(hint)(FileError::io(path, source))
    }
}
