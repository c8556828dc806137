use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::data_type::ByteArray;
use serde::{Deserialize, Serialize};
use visrl_core::ImageSource;

use crate::coop::OBJECT_QUESTION;
use crate::labels::{LabelIndex, Questions};
use crate::lines::{MAX_LABEL, MAX_PATH, MAX_QUESTION, check_length};
use crate::parquet_labels::class_names;
use crate::parquet_table::ParquetTable;
use crate::paths::{join_below, list};
use crate::{Error, MemoryDataset, ParquetLimits, Record, Split};

/// A data set in parquet files, as the Hugging Face hub has them: one row per image, with the
/// columns `image` (a structure of `bytes` and `path`), `problem` (the question) and `solution` (the
/// class name, bare or in `<answer>` tags). The paper's own 4-shot sets are of this form.
///
/// A folder is a data set too: all its `*.parquet` files, or those in its folder `data`, in the
/// order of their names. A file whose name begins with `train`, `val` (or `dev`) or `test` holds
/// that split, so `train-00000-of-00002.parquet` and its neighbours come together.
///
/// The solution may also be a column of class numbers, as in the hub's image classification sets
/// (`solution: "label"`); the names come from [`ParquetConfig::classes`], or from the note that the
/// hub's library leaves in the file.
///
/// Some sets write a list of choices into each problem. Ask those with
/// [`ChoiceRule::Open`](crate::ChoiceRule::Open), or set [`ParquetConfig::question`], so that no
/// second list follows.
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

impl ParquetConfig {
    /// Reads a parquet file, or all those of a folder. The data set is named like the file or the
    /// folder; a record's id is its split and number, such as `train[3]`.
    ///
    /// The encoded images are held in memory, so that a row group is decompressed once; their sum
    /// is limited by [`ParquetLimits::total_bytes`]. Pixels are decoded late, as always.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] or [`Error::Io`]; [`Error::Parquet`] with file, row group and column for
    /// a damaged file, a missing column, one of another type, a text that is not UTF-8 and a
    /// compression or encoding that is not read; [`Error::TooLarge`] beyond one of the limits;
    /// [`Error::Row`] for a row without image or solution; [`Error::ImagePath`];
    /// [`Error::UnknownLabel`], [`Error::DuplicateClass`] and [`Error::LabelRange`] for solutions
    /// that do not fit the classes.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        let path = path.as_ref();
        let files = parquet_files(path)?;
        let tables = files
            .iter()
            .map(|file| ParquetTable::open(file, self.limits))
            .collect::<Result<Vec<_>, _>>()?;
        let noted = tables.first().and_then(|t| class_names(t, &self.solution));
        let classes = self.classes.as_deref().or(noted.as_deref());
        let numbers = |table: &ParquetTable| {
            let column = table.find(&[&self.solution]);
            column.is_some_and(|column| table.is_int64(column))
        };
        let labels = match classes {
            Some(classes) if tables.iter().any(numbers) => LabelIndex::numbered(path, classes),
            classes => LabelIndex::new(path, classes)?,
        };
        let mut reading = Reading {
            config: self,
            labels,
            classes: classes.unwrap_or_default().len(),
            questions: Questions::default(),
            splits: [None, None, None],
            bytes: 0,
        };
        for table in &tables {
            reading.read(table)?;
        }
        let mut splits = reading.splits;
        let classes = reading.labels.finish(splits.iter_mut().flatten().flatten());
        let name = path
            .file_stem()
            .map_or("images".into(), |name| name.to_string_lossy());
        let question = self.question.as_deref().unwrap_or(OBJECT_QUESTION);
        let mut dataset = MemoryDataset::new(name, classes, question);
        for (split, records) in Split::ALL.into_iter().zip(splits) {
            if let Some(records) = records {
                dataset = dataset.with_split(split, records)?;
            }
        }
        Ok(dataset)
    }
}

/// The files of a data set: the file itself, or those of the folder or of its folder `data`.
fn parquet_files(path: &Path) -> Result<Vec<PathBuf>, Error> {
    if !path.is_dir() {
        return Ok(vec![path.to_path_buf()]);
    }
    for folder in [path.to_path_buf(), path.join("data")] {
        if folder.is_dir() {
            let names = list(&folder, false, "a folder of parquet files")?;
            let files: Vec<PathBuf> = names
                .iter()
                .filter(|name| name.ends_with(".parquet"))
                .map(|name| folder.join(name))
                .collect();
            if !files.is_empty() {
                return Ok(files);
            }
        }
    }
    Err(Error::Missing {
        path: path.to_path_buf(),
        hint: "neither here nor in `data` is a file that ends in `.parquet`".into(),
    })
}

/// The split that a file's name begins with.
fn split_of(path: &Path) -> Option<Split> {
    let name = path.file_name()?.to_string_lossy().to_lowercase();
    let starts = [
        ("train", Split::Train),
        ("val", Split::Val),
        ("dev", Split::Val),
        ("test", Split::Test),
    ];
    let found = starts
        .into_iter()
        .find(|(start, _)| name.starts_with(start));
    found.map(|(_, split)| split)
}

/// A data set while its files are read.
struct Reading<'a> {
    config: &'a ParquetConfig,
    labels: LabelIndex<'a>,
    /// How many classes are given; without any, class numbers have no names.
    classes: usize,
    questions: Questions,
    splits: [Option<Vec<Record>>; 3],
    bytes: u64,
}

/// The solutions of a row group.
enum Solutions {
    Texts(Vec<Option<ByteArray>>),
    Numbers(Vec<Option<i64>>),
}

impl Reading<'_> {
    fn read(&mut self, table: &ParquetTable) -> Result<(), Error> {
        let config = self.config;
        let split = config.split.or_else(|| split_of(table.path()));
        let split = split.unwrap_or(Split::Train);
        let images = ImageColumns::find(table, &config.image)?;
        let problem = match config.question {
            Some(_) => None,
            None => {
                let advice = "set `problem` to the column of questions, or give one `question`";
                Some(table.need(&[&config.problem], advice)?)
            }
        };
        let advice = "set `solution` to the column of answers";
        let solution = table.need(&[&config.solution], advice)?;
        for group in 0..table.groups() {
            let solutions = match table.is_int64(solution) {
                true => Solutions::Numbers(table.ints(group, solution)?),
                false => Solutions::Texts(table.bytes(group, solution)?),
            };
            let problems = problem
                .map(|column| table.bytes(group, column))
                .transpose()?;
            let images = images.read(table, group)?;
            for place in 0..table.rows(group) {
                let number = self.splits[split as usize].as_ref().map_or(0, Vec::len);
                let row = format!("{split}[{number}]");
                let image = images.image(table, place, &row, &mut self.bytes)?;
                let label = self.label(table, &solutions, place, &row)?;
                let mut record = Record::new(row, image, label);
                if let Some(problem) = problems.as_ref().and_then(|texts| texts[place].as_ref()) {
                    let text = text(table, problem, &record.id, &config.problem, MAX_QUESTION)?;
                    record.question = Some(self.questions.share(text));
                }
                let records = self.splits[split as usize].get_or_insert_default();
                records.push(record);
            }
        }
        self.splits[split as usize].get_or_insert_default();
        Ok(())
    }

    fn label(
        &mut self,
        table: &ParquetTable,
        solutions: &Solutions,
        place: usize,
        row: &str,
    ) -> Result<usize, Error> {
        let missing = || Error::Row {
            path: table.path().to_path_buf(),
            row: row.to_owned(),
            field: "solution",
            message: format!("is null; each row of `{}` needs one", self.config.solution),
        };
        match solutions {
            Solutions::Texts(texts) => {
                let solution = texts[place].as_ref().ok_or_else(missing)?;
                let solution = text(table, solution, row, &self.config.solution, MAX_LABEL)?;
                self.labels
                    .place(untagged(solution), || row.to_owned(), "solution")
            }
            Solutions::Numbers(_) if self.classes == 0 => {
                let message = "holds class numbers, and the file does not name the classes; give \
                               them in `classes`";
                Err(table.fail(None, &self.config.solution, message))
            }
            Solutions::Numbers(numbers) => {
                let label = numbers[place].ok_or_else(missing)?;
                let known = usize::try_from(label).ok().filter(|l| *l < self.classes);
                known.ok_or_else(|| Error::LabelRange {
                    path: table.path().to_path_buf(),
                    row: row.to_owned(),
                    label,
                    classes: self.classes,
                })
            }
        }
    }
}

/// What stands in the last pair of `<answer>` tags; without one, all of it.
fn untagged(solution: &str) -> &str {
    let inside = solution
        .rsplit_once("<answer>")
        .and_then(|(_, rest)| rest.split_once("</answer>"));
    inside.map_or(solution, |(answer, _)| answer).trim()
}

/// A value as text, at most so long.
pub(crate) fn text<'v>(
    table: &ParquetTable,
    value: &'v ByteArray,
    row: &str,
    field: &str,
    limit: usize,
) -> Result<&'v str, Error> {
    let text = std::str::from_utf8(value.data()).map_err(|error| {
        let message = format!("row `{row}`: is not UTF-8 text: {error}");
        table.fail(None, field, &message)
    })?;
    check_length(text, limit, table.path(), || row.to_owned(), field)?;
    Ok(text)
}

/// The columns that make up images.
pub(crate) struct ImageColumns {
    bytes: usize,
    path: Option<usize>,
}

impl ImageColumns {
    /// A structure of `bytes` and `path`, or a column of bytes.
    pub(crate) fn find(table: &ParquetTable, name: &str) -> Result<Self, Error> {
        let [bytes, path] = ["bytes", "path"].map(|field| format!("{name}.{field}"));
        let advice = "set `image` to the column of images";
        Ok(Self {
            bytes: table.need(&[&bytes, name], advice)?,
            path: table.find(&[&path]),
        })
    }

    pub(crate) fn read(&self, table: &ParquetTable, group: usize) -> Result<Images, Error> {
        let path = self.path.map(|column| table.bytes(group, column));
        Ok(Images {
            field: table.column_name(self.bytes),
            bytes: table.bytes(group, self.bytes)?,
            paths: path.transpose()?,
        })
    }
}

/// The images of a row group.
pub(crate) struct Images {
    field: String,
    bytes: Vec<Option<ByteArray>>,
    paths: Option<Vec<Option<ByteArray>>>,
}

impl Images {
    /// The path of an image, as it stands in the file.
    pub(crate) fn path(
        &self,
        table: &ParquetTable,
        place: usize,
        row: &str,
    ) -> Result<Option<&str>, Error> {
        let path = self.paths.as_ref().and_then(|paths| paths[place].as_ref());
        path.map(|path| text(table, path, row, "path", MAX_PATH))
            .transpose()
    }

    /// An image; its bytes are added to `total`.
    pub(crate) fn image(
        &self,
        table: &ParquetTable,
        place: usize,
        row: &str,
        total: &mut u64,
    ) -> Result<ImageSource, Error> {
        let path = self.path(table, place, row)?;
        let Some(value) = self.bytes[place].as_ref().filter(|v| !v.data().is_empty()) else {
            let path = path.ok_or_else(|| Error::Row {
                path: table.path().to_path_buf(),
                row: row.to_owned(),
                field: "image",
                message: "has neither bytes nor a path".into(),
            })?;
            let folder = table.path().parent().unwrap_or(Path::new(""));
            let file = join_below(folder, path, table.path(), || row.to_owned())?;
            return Ok(ImageSource::path(file));
        };
        let limits = table.limits();
        let size = value.data().len() as u64;
        *total = total.saturating_add(size);
        let checks = [
            (
                size,
                limits.image_bytes,
                "is it an image? otherwise raise `limits.image_bytes`",
            ),
            (
                *total,
                limits.total_bytes,
                "raise `limits.total_bytes`, or write the images to files and list them in JSON \
                 lines",
            ),
        ];
        for (size, limit, advice) in checks {
            if size > limit {
                return Err(table.too_large(row, &self.field, size, "bytes", limit, advice));
            }
        }
        let file = table.path().display();
        let name = match path {
            Some(path) => format!("{file}: {row} ({path})"),
            None => format!("{file}: {row}"),
        };
        Ok(ImageSource::Encoded {
            name: Arc::from(name),
            bytes: Arc::from(value.data()),
        })
    }
}
