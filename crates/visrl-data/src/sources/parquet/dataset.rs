use std::path::{Path, PathBuf};

use parquet::data_type::ByteArray;

use crate::error::Error;
use crate::files::limits::{MAX_LABEL, MAX_QUESTION};
use crate::files::paths::list;
use crate::files::told::tell;
use crate::memory::MemoryDataset;
use crate::record::Record;
use crate::sources::image_markers::{own_question, without_markers};
use crate::sources::labels::LabelIndex;
use crate::sources::parquet::columns::{ImageColumns, text};
use crate::sources::parquet::config::ParquetConfig;
use crate::sources::parquet::note::class_names;
use crate::sources::parquet::table::ParquetTable;
use crate::sources::questions::{OBJECT_QUESTION, Questions};
use crate::split::Split;

/// Reads a parquet file, or all those of a folder.
pub(crate) fn read_dataset(config: &ParquetConfig, path: &Path) -> Result<MemoryDataset, Error> {
    let files = parquet_files(path)?;
    if config.split.is_none() {
        tell_unnamed(path, &files);
    }
    let tables = files
        .iter()
        .map(|file| ParquetTable::open(file, config.limits))
        .collect::<Result<Vec<_>, _>>()?;
    let noted = tables
        .first()
        .and_then(|t| class_names(t, &config.solution));
    let classes = config.classes.as_deref().or(noted.as_deref());
    let numbers = |table: &ParquetTable| {
        let column = table.find(&[&config.solution]);
        column.is_some_and(|column| table.is_int64(column))
    };
    let labels = match classes {
        Some(classes) if tables.iter().any(numbers) => LabelIndex::numbered(path, classes)?,
        classes => LabelIndex::new(path, classes)?,
    };
    let mut reading = Reading {
        config,
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
    reading.labels.tell_alike(&config.solution);
    let classes = reading.labels.finish(splits.iter_mut().flatten().flatten());
    let name = path
        .file_stem()
        .map_or("images".into(), |name| name.to_string_lossy());
    let question = own_question(config.question.as_deref().unwrap_or(OBJECT_QUESTION))?;
    let mut dataset = MemoryDataset::new(name, classes, question);
    for (split, records) in Split::ALL.into_iter().zip(splits) {
        if let Some(records) = records {
            dataset = dataset.with_split(split, records)?;
        }
    }
    Ok(dataset)
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

/// Tells of a file that names no split beside others that do.
fn tell_unnamed(path: &Path, files: &[PathBuf]) {
    let unnamed: Vec<&PathBuf> = files
        .iter()
        .filter(|file| split_of(file).is_none())
        .collect();
    if let (Some(first), true) = (unnamed.first(), unnamed.len() < files.len()) {
        let message = format!(
            "the name of `{}` begins with no split's, and it is read as training data ({} such in \
             all); rename it, or give `split`",
            first.file_name().unwrap_or_default().to_string_lossy(),
            unnamed.len()
        );
        tell(path, &message);
    }
}

/// Tells of columns that are not read, unless they are empty.
fn tell_unused(table: &ParquetTable, config: &ParquetConfig) {
    let names = table.filled_columns();
    let is_used = |name: &String| {
        let root = |used: &str| used.split('.').next() == Some(name);
        let used = [&config.image, &config.problem, &config.solution];
        used.into_iter().any(|used| root(used)) || name == "id"
    };
    let unused = names.into_iter().filter(|name| !is_used(name));
    let unused: Vec<String> = unused.map(|name| format!("`{name}`")).collect();
    if !unused.is_empty() {
        let message = format!("of the columns {} nothing is used", unused.join(", "));
        tell(table.path(), &message);
    }
}

/// A data set while its files are read.
struct Reading<'a> {
    config: &'a ParquetConfig,
    labels: LabelIndex,
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
        tell_unused(table, config);
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
                    let name = || record.id.clone();
                    let asked = without_markers(text, table.path(), name, "problem")?;
                    record.question = asked.map(|asked| self.questions.share(&asked));
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
            field: "solution".into(),
            message: format!("is null; each row of `{}` needs one", self.config.solution),
        };
        match solutions {
            Solutions::Texts(texts) => {
                let solution = texts[place].as_ref().ok_or_else(missing)?;
                let solution = text(table, solution, row, &self.config.solution, MAX_LABEL)?;
                self.labels.place(solution, || row.to_owned(), "solution")
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
