use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::files::told::tell;
use crate::memory::MemoryDataset;
use crate::sources::image_markers::own_question;
use crate::sources::labels::LabelIndex;
use crate::sources::rows::at::At;
use crate::sources::rows::config::RowsConfig;
use crate::sources::rows::dataset_info::{self, Entry};
use crate::sources::rows::file_list::{RowPart, read_list};
use crate::sources::rows::files::{is_parquet, is_yaml, row_files, split_of};
use crate::sources::rows::json;
#[cfg(feature = "parquet")]
use crate::sources::rows::parquet_file::read_parquet;
use crate::sources::rows::pictures::Pictures;
use crate::sources::rows::reading::{Mapping, OnlyParquet, Reading};
use crate::sources::rows::tool::Tool;
use crate::sources::rows::value::Value;
use crate::sources::shared_pictures::tell_shared;
use crate::split::Split;

impl RowsConfig {
    /// Reads the rows of a file, or of the files of a folder: its parquet files (or those of its
    /// folder `data`), or else its JSON files that begin with the name of a split.
    ///
    /// The data set is named like the file; a record's id is the path of its first image, or its
    /// split and number where that has none. Each image that is a file has to be there. Of what has
    /// no meaning here each column is told once.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] or [`Error::File`]; [`Error::Row`] with the line or the row, and the
    /// field; [`Error::ImagePath`]; [`Error::TooLarge`]; [`Error::UnknownLabel`],
    /// [`Error::LabelRange`] and [`Error::DuplicateClass`] for answers that do not fit the classes
    /// given; [`Error::Config`] for an option that fits no file; for parquet files
    /// [`Error::Parquet`], and [`Error::Feature`] without the feature `parquet` of this crate.
    pub fn open(&self, path: impl AsRef<Path>) -> Result<MemoryDataset, Error> {
        open_rows(self, path.as_ref(), None)
    }

    /// What `dataset_info.json` lies at a path, and the entry of it that is meant.
    fn entry(&self, path: &Path) -> Result<Option<(PathBuf, Entry)>, Error> {
        let info = match path.is_dir() {
            true => path.join("dataset_info.json"),
            false => path.to_path_buf(),
        };
        let value = match info.is_file() {
            true => dataset_info::parse(&info),
            false => None,
        };
        match (value, &self.dataset) {
            (Some(value), name) => {
                let entry = Entry::of(&info, &value, name.as_deref(), self.any_path)?;
                Ok(Some((info, entry)))
            }
            (None, None) => Ok(None),
            (None, Some(name)) => Err(Error::Config {
                field: "dataset",
                message: format!(
                    "`{name}` is given, but {} is no `dataset_info.json`",
                    path.display()
                ),
            }),
        }
    }

    /// The folder that paths of images are relative to.
    fn images(&self, home: &Path) -> Result<PathBuf, Error> {
        let Some(name) = &self.images_folder else {
            return Ok(home.to_path_buf());
        };
        let folders = [home.join(name), PathBuf::from(name)];
        let found = folders.into_iter().find(|folder| folder.is_dir());
        found.ok_or_else(|| Error::Config {
            field: "images_folder",
            message: format!(
                "there is no folder `{name}`, neither in {} nor here",
                home.display()
            ),
        })
    }

    fn read(&self, reading: &mut Reading<'_>, path: &Path, part: RowPart) -> Result<(), Error> {
        reading.labels.in_file(path);
        let before = reading.rows();
        reading.split = self
            .split
            .or_else(|| split_of(path))
            .unwrap_or(Split::Train);
        if reading.only.is_some() || is_parquet(path) {
            read_parquet(self, reading, path)?;
        } else if part == RowPart::All {
            json::for_each_row(path, |at, row| reading.row(at, &row))?;
        } else {
            let mut rows: Vec<(&str, u64, Value)> = Vec::new();
            json::for_each_row(path, |at, row| {
                rows.push((at.unit, at.number, row));
                Ok(())
            })?;
            if part.missing(rows.len()) > 0 {
                let message = format!("has {} rows, fewer than are asked for", rows.len());
                tell(path, &message);
            }
            for (unit, number, row) in &rows[part.range(rows.len())] {
                let (unit, number) = (*unit, *number);
                reading.row(At { path, unit, number }, row)?;
            }
        }
        if reading.rows() == before {
            reading.empty.push((path.to_path_buf(), reading.split));
        }
        reading.end_of_file(path)
    }
}

/// Reads the rows of a file or of a folder; `only` says how a part of them is read by
/// [`ParquetConfig`](crate::ParquetConfig).
pub(crate) fn open_rows(
    config: &RowsConfig,
    path: &Path,
    only: Option<OnlyParquet<'_>>,
) -> Result<MemoryDataset, Error> {
    let question = own_question(&config.question)?;
    let entry = match only {
        None => config.entry(path)?,
        Some(_) => None,
    };
    let home = entry.as_ref().map_or(path, |(info, _)| info);
    let home = match home.is_dir() {
        true => home,
        false => home.parent().unwrap_or(Path::new("")),
    };
    let pictures = Pictures {
        folder: config.images(home)?,
        any_path: config.any_path,
        limits: config.limits,
        bytes: 0,
    };
    let mapping = match &entry {
        Some((_, entry)) => Mapping::Entry(entry),
        None => Mapping::Table(&config.columns),
    };
    let labels = LabelIndex::new(path, config.classes.as_deref())?;
    let is_list = only.is_none() && is_yaml(path);
    let listed = is_list.then_some(Tool::VlmR1);
    let mut reading = Reading::new(mapping, config.tool.or(listed), labels, pictures);
    let is_number = |class: &String| class.trim().parse::<f64>().is_ok();
    let classes = config.classes.clone();
    reading.numbered = classes.filter(|names| !names.iter().any(is_number));
    reading.only = only;
    match &entry {
        Some((_, entry)) => config.read(&mut reading, &entry.file, RowPart::All)?,
        None if is_list => {
            for listed in read_list(path, config.any_path)? {
                config.read(&mut reading, &listed.file, listed.part)?;
            }
        }
        None => {
            for file in row_files(path, only.is_some(), config.split)? {
                if config.images_folder.is_none() {
                    reading.pictures.folder = file.parent().unwrap_or(Path::new("")).into();
                }
                config.read(&mut reading, &file, RowPart::All)?;
            }
        }
    }
    if reading.rows() == 0 {
        return Err(Error::no_row(path));
    }
    for (file, split) in &reading.empty {
        tell(
            file,
            &format!("holds no row: the split {split} gets none of it"),
        );
    }
    reading.labels.in_file(path);
    reading.labels.tell_alike(&reading.answers);
    let mut splits = reading.splits;
    let classes = reading.labels.finish(splits.iter_mut().flatten().flatten());
    let name = path.file_stem();
    let name = name.map_or("images".into(), |name| name.to_string_lossy());
    let name = config.dataset.as_deref().unwrap_or(&name);
    let mut dataset = MemoryDataset::new(name, classes, question);
    for (split, records) in Split::ALL.into_iter().zip(splits) {
        if let Some(records) = records {
            dataset = dataset.with_split(split, records)?;
        }
    }
    tell_shared(path, &dataset);
    Ok(dataset)
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(_: &RowsConfig, _: &mut Reading<'_>, path: &Path) -> Result<(), Error> {
    Err(Error::without_parquet(path))
}
