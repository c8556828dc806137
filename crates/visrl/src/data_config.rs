//! The data of a run as a part of its file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use visrl_data::{
    Classes, CoopSet, CvBenchConfig, Dataset, FashionMnist, FewShot, IdxConfig, ImageFolderConfig,
    MemoryDataset, ParquetConfig, RowsConfig, SatConfig, Split, base_new, hold_out,
};

use crate::data_errors::{of_source, of_split, tell_small_classes};
use crate::drawn_shapes::DrawnShapes;
use crate::error::Error;
use crate::question_check::check_question;
use crate::registry::Registry;

/// A data set, or a part of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataConfig {
    /// Training images of each class; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shots: Option<usize>,
    /// The seed of the few-shot draw; the run's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shot_seed: Option<u64>,
    /// The part of each class's training images that is held out as the test split, of data that
    /// have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_fraction: Option<f64>,
    /// The seed of what is held out; the run's when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_seed: Option<u64>,
    /// All classes, or the base or the new half.
    #[serde(default)]
    pub classes: Classes,
    /// Where the data come from.
    pub source: DataSource,
}

/// Where data come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum DataSource {
    /// A folder with Fashion-MNIST's four IDX files.
    FashionMnist {
        /// The folder.
        path: PathBuf,
    },
    /// Shapes drawn by code.
    DrawnShapes {
        /// How they are drawn.
        #[serde(default)]
        options: DrawnShapes,
    },
    /// One of CoOp's eleven sets.
    Coop {
        /// The folder that holds the set's own.
        path: PathBuf,
        /// Which set.
        set: CoopSet,
    },
    /// A folder of images in folders named like their classes.
    ImageFolder {
        /// The folder.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: ImageFolderConfig,
    },
    /// Rows of questions about images in JSON lines, JSON or parquet, as training tools write them.
    #[serde(alias = "json_lines", alias = "json")]
    Rows {
        /// The file or the folder.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: RowsConfig,
    },
    /// Parquet files as on the Hugging Face hub.
    Parquet {
        /// The file or the folder.
        path: PathBuf,
        /// How they are read.
        #[serde(default)]
        options: ParquetConfig,
    },
    /// IDX files with MNIST's names.
    Idx {
        /// The folder.
        path: PathBuf,
        /// What is in them.
        options: IdxConfig,
    },
    /// CV-Bench.
    CvBench {
        /// The file or the folder.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: CvBenchConfig,
    },
    /// A data set of one's own, by its name in a [`Registry`].
    Custom {
        /// The name.
        name: String,
    },
    /// SAT in the JSON that the paper trains on.
    Sat {
        /// The file.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: SatConfig,
    },
}

impl DataConfig {
    /// Checks the question that the part `name` of a run's file gives.
    pub(crate) fn check_question(&self, name: &str) -> Result<(), Error> {
        let Ok(source) = serde_json::to_value(&self.source) else {
            return Ok(());
        };
        match source["options"]["question"].as_str() {
            Some(question) => check_question(&format!("{name}.source.options.question"), question),
            None => Ok(()),
        }
    }

    /// Tells what has no effect in the part `name` of a run's file.
    pub(crate) fn warn_of_idle(&self, name: &str) {
        if self.test_fraction.is_none() && self.test_seed.is_some() {
            visrl_core::warn_once(format!(
                "`{name}.test_seed` has no effect without `test_fraction`: nothing is held out"
            ));
        }
        if self.shots.is_none() && self.shot_seed.is_some() {
            visrl_core::warn_once(format!(
                "`{name}.shot_seed` has no effect without `shots`: nothing is drawn"
            ));
        }
    }

    /// Opens the data set with all its images; a part of them is held out where that is asked for.
    ///
    /// # Errors
    /// As [`DataSource::open`]; [`Error::Data`] for a part that cannot be held out.
    pub fn open_whole(&self, registry: &Registry, seed: u64) -> Result<MemoryDataset, Error> {
        self.open_source("data", registry, seed)
    }

    /// Opens the data set and takes the part that is asked for: what is held out goes to the test
    /// split, then comes the few-shot draw, over all classes, then the half of the classes.
    ///
    /// # Errors
    /// As [`DataConfig::open_whole`].
    pub fn open(&self, registry: &Registry, seed: u64) -> Result<MemoryDataset, Error> {
        self.open_as("data", registry, seed)
    }

    /// As [`open_as`](Self::open_as), to train on: classes that have fewer images than are drawn are
    /// told.
    pub(crate) fn open_to_train(
        &self,
        name: &str,
        registry: &Registry,
        seed: u64,
    ) -> Result<MemoryDataset, Error> {
        let data = self.open_source(name, registry, seed)?;
        if let Some(shots) = self.shots {
            tell_small_classes(name, &data, shots)?;
        }
        self.part(name, data, seed)
    }

    /// As [`open`](Self::open), of the part `name` of a run's file.
    pub(crate) fn open_as(
        &self,
        name: &str,
        registry: &Registry,
        seed: u64,
    ) -> Result<MemoryDataset, Error> {
        let data = self.open_source(name, registry, seed)?;
        self.part(name, data, seed)
    }

    /// Checks that the part `name` of a run's file has a split.
    pub(crate) fn check_split(
        &self,
        name: &str,
        data: &MemoryDataset,
        split: Split,
    ) -> Result<(), Error> {
        let records = data.records(split).map(drop);
        records.map_err(|error| of_split(name, self.source.path(), error))
    }

    /// The part of the data that is asked for.
    fn part(&self, name: &str, mut data: MemoryDataset, seed: u64) -> Result<MemoryDataset, Error> {
        let lacks = |error| of_split(name, self.source.path(), error);
        if let Some(shots) = self.shots {
            let draw = FewShot::new(shots, self.shot_seed.unwrap_or(seed));
            data = draw.draw(&data).map_err(lacks)?;
        }
        match self.classes {
            Classes::All => Ok(data),
            half => base_new(&data, half).map_err(lacks),
        }
    }

    /// As [`open_whole`](Self::open_whole), of the part `name` of a run's file.
    pub(crate) fn open_source(
        &self,
        name: &str,
        registry: &Registry,
        seed: u64,
    ) -> Result<MemoryDataset, Error> {
        let data = self.source.open(registry).map_err(|error| match error {
            Error::Data(error) => of_source(name, *error),
            other => other,
        })?;
        let Some(fraction) = self.test_fraction else {
            return Ok(data);
        };
        hold_out(&data, fraction, self.test_seed.unwrap_or(seed)).map_err(|error| match error {
            visrl_data::Error::Config { field, message } => {
                Error::setting(format!("{name}.{field}"), message)
            }
            error => of_split(name, self.source.path(), error),
        })
    }
}

impl DataSource {
    /// The file or folder that the data are read from, where they are.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::FashionMnist { path }
            | Self::Coop { path, .. }
            | Self::ImageFolder { path, .. }
            | Self::Rows { path, .. }
            | Self::Parquet { path, .. }
            | Self::Idx { path, .. }
            | Self::CvBench { path, .. }
            | Self::Sat { path, .. } => Some(path),
            Self::DrawnShapes { .. } | Self::Custom { .. } => None,
        }
    }

    /// Opens the data set.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for one that the registry does not know; what the data set says.
    pub fn open(&self, registry: &Registry) -> Result<MemoryDataset, Error> {
        let copy = |dataset: &dyn Dataset| MemoryDataset::copy_of(dataset);
        Ok(match self {
            Self::FashionMnist { path } => copy(&FashionMnist::open(path)?)?,
            Self::DrawnShapes { options } => options.draw()?,
            Self::Coop { path, set } => set.open(path)?,
            Self::ImageFolder { path, options } => options.open(path)?,
            Self::Rows { path, options } => options.open(path)?,
            Self::Parquet { path, options } => options.open(path)?,
            Self::Idx { path, options } => options.open(path)?,
            Self::CvBench { path, options } => copy(&options.open(path)?)?,
            Self::Sat { path, options } => options.open(path)?,
            Self::Custom { name } => copy(registry.find_dataset(name)?)?.with_name(name),
        })
    }
}
