use std::path::{Path, PathBuf};

use crate::error::Error;
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
use crate::sources::rows::reading::{Mapping, Reading};
use crate::sources::rows::tool::Tool;
use crate::sources::rows::value::Value;
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
        let path = path.as_ref();
        let question = own_question(&self.question)?;
        let info = match path.is_dir() {
            true => path.join("dataset_info.json"),
            false => path.to_path_buf(),
        };
        let info = match info.is_file() {
            true => dataset_info::parse(&info).map(|value| (info, value)),
            false => None,
        };
        let entry = match (&info, &self.dataset) {
            (Some((path, value)), name) => {
                Some(Entry::of(path, value, name.as_deref(), self.any_path)?)
            }
            (None, None) => None,
            (None, Some(name)) => {
                return Err(Error::Config {
                    field: "dataset",
                    message: format!(
                        "`{name}` is given, but {} is no `dataset_info.json`",
                        path.display()
                    ),
                });
            }
        };
        let home = info.as_ref().map_or(path, |(info, _)| info);
        let home = match home.is_dir() {
            true => home,
            false => home.parent().unwrap_or(Path::new("")),
        };
        let pictures = Pictures {
            folder: self.images(home)?,
            any_path: self.any_path,
            limits: self.limits,
            bytes: 0,
        };
        let mapping = match &entry {
            Some(entry) => Mapping::Entry(entry),
            None => Mapping::Table(&self.columns),
        };
        let labels = LabelIndex::new(path, self.classes.as_deref())?;
        let listed = is_yaml(path).then_some(Tool::VlmR1);
        let mut reading = Reading::new(mapping, self.tool.or(listed), labels, pictures);
        let is_number = |class: &String| class.trim().parse::<f64>().is_ok();
        reading.numbered = self
            .classes
            .clone()
            .filter(|names| !names.iter().any(is_number));
        match &entry {
            Some(entry) => self.read(&mut reading, &entry.file, RowPart::All)?,
            None if is_yaml(path) => {
                for listed in read_list(path, self.any_path)? {
                    self.read(&mut reading, &listed.file, listed.part)?;
                }
            }
            None => {
                for file in row_files(path)? {
                    self.read(&mut reading, &file, RowPart::All)?;
                }
            }
        }
        if reading.rows() == 0 {
            return Err(Error::Row {
                path: path.to_path_buf(),
                row: "file".into(),
                field: "row".into(),
                message: "there is no row".into(),
            });
        }
        reading.labels.in_file(path);
        reading.labels.tell_alike(&reading.answers);
        let mut splits = reading.splits;
        let classes = reading.labels.finish(splits.iter_mut().flatten().flatten());
        let name = path.file_stem();
        let name = name.map_or("images".into(), |name| name.to_string_lossy());
        let name = self.dataset.as_deref().unwrap_or(&name);
        let mut dataset = MemoryDataset::new(name, classes, question);
        for (split, records) in Split::ALL.into_iter().zip(splits) {
            if let Some(records) = records {
                dataset = dataset.with_split(split, records)?;
            }
        }
        Ok(dataset)
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
        reading.split = self
            .split
            .or_else(|| split_of(path))
            .unwrap_or(Split::Train);
        if is_parquet(path) {
            read_parquet(self, reading, path)?;
        } else if part == RowPart::All {
            json::for_each_row(path, |at, row| reading.row(at, &row))?;
        } else {
            let mut rows: Vec<(&str, u64, Value)> = Vec::new();
            json::for_each_row(path, |at, row| {
                rows.push((at.unit, at.number, row));
                Ok(())
            })?;
            for (unit, number, row) in &rows[part.range(rows.len())] {
                let (unit, number) = (*unit, *number);
                reading.row(At { path, unit, number }, row)?;
            }
        }
        reading.end_of_file(path)
    }
}

#[cfg(not(feature = "parquet"))]
fn read_parquet(_: &RowsConfig, _: &mut Reading<'_>, path: &Path) -> Result<(), Error> {
    Err(Error::without_parquet(path))
}
