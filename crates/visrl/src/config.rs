//! A whole run as a file.

use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use visrl_core::files::{FileError, write_file};
use visrl_data::{
    Classes, CoopSet, CvBenchConfig, Dataset, FashionMnist, FewShot, IdxConfig, ImageFolderConfig,
    JsonLinesConfig, MemoryDataset, ParquetConfig, SatConfig, base_new,
};
use visrl_vlm::{LoadOptions, Pretrained, QwenVl};

use crate::fine_tune::Error;
use crate::{DrawnShapes, FineTune, Recipe, Summary, parse_device};

/// Everything of a run: model, data, recipe and numbers. As a TOML file it repeats the run, bit for
/// bit on one backend.
///
/// ```
/// use visrl::RunConfig;
///
/// let run = RunConfig::from_toml(r#"
///     recipe = "no_thinking_rl"
///
///     [model]
///     path = "assets/base"
///
///     [data]
///     shots = 4
///     source = { kind = "fashion_mnist", path = "assets/fashion-mnist" }
///
///     [fine_tune]
///     steps = 10
/// "#)?;
/// assert_eq!((run.fine_tune.steps, run.recipe.name.as_str()), (10, "no_thinking_rl"));
/// let error = RunConfig::from_toml("recipe = \"no_thinking\"").unwrap_err().to_string();
/// assert!(error.contains("unknown variant `no_thinking`") && error.contains("`cls_rl`"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunConfig {
    /// The version of visrl that wrote the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The device, as [`parse_device`] reads it.
    #[serde(default = "default_device")]
    pub device: String,
    /// The recipe: one of the paper's by its name, or a table.
    #[serde(deserialize_with = "recipe_or_name")]
    pub recipe: Recipe,
    /// The model.
    pub model: ModelConfig,
    /// What is trained on, and tested on if nothing else is given.
    pub data: DataConfig,
    /// What is tested on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test: Option<DataConfig>,
    /// The numbers.
    #[serde(default)]
    pub fine_tune: FineTune,
}

/// Which model, and how it is loaded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelConfig {
    /// Checkpoint folder in Hugging Face layout.
    pub path: PathBuf,
    /// What is not as the folder says.
    #[serde(default)]
    pub load: LoadOptions,
}

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
    /// JSON lines.
    JsonLines {
        /// The file.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: JsonLinesConfig,
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
    /// SAT in the JSON that the paper trains on.
    Sat {
        /// The file.
        path: PathBuf,
        /// How it is read.
        #[serde(default)]
        options: SatConfig,
    },
}

fn default_device() -> String {
    "flex".into()
}

/// A recipe by its name or as a table, with the errors of the one that it is.
fn recipe_or_name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Recipe, D::Error> {
    struct Visitor;
    impl<'de> serde::de::Visitor<'de> for Visitor {
        type Value = Recipe;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("the name of a recipe or a table")
        }

        fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Recipe, E> {
            Ok(Named::deserialize(StrDeserializer::new(name))?.recipe())
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Recipe, A::Error> {
            Recipe::deserialize(MapAccessDeserializer::new(map))
        }
    }
    deserializer.deserialize_any(Visitor)
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Named {
    Sft,
    ClsRl,
    ThinkAfterAnswer,
    Adaptive,
    NoThinkingRl,
}

impl Named {
    fn recipe(self) -> Recipe {
        match self {
            Self::Sft => Recipe::sft(),
            Self::ClsRl => Recipe::cls_rl(),
            Self::ThinkAfterAnswer => Recipe::think_after_answer(),
            Self::Adaptive => Recipe::adaptive(),
            Self::NoThinkingRl => Recipe::no_thinking_rl(),
        }
    }
}

impl RunConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// The line, the field and what was expected there.
    pub fn from_toml(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Files`]; [`Error::File`] with the line, the field and what was expected there.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| FileError::io(path, source))?;
        Self::from_toml(&text).map_err(|error| Error::file(path, error.to_string()))
    }

    /// The configuration as a file, with the version that is running.
    ///
    /// # Errors
    /// The setting that no file can hold, such as a reward rule of one's own.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(&Self {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..self.clone()
        })
    }

    /// Loads the model.
    ///
    /// # Errors
    /// [`Error::Config`] for a device that cannot be had; what the checkpoint says.
    pub fn load_model(&self) -> Result<Pretrained<QwenVl>, Error> {
        let device = parse_device(&self.device).map_err(|error| Error::Config {
            field: "device",
            message: error.to_string(),
        })?;
        let model = &self.model;
        Ok(Pretrained::load_with(&model.path, &device, &model.load)?)
    }

    /// Opens the data: what is trained on, and what is tested on.
    ///
    /// # Errors
    /// What the data set says.
    pub fn load_data(&self) -> Result<(MemoryDataset, MemoryDataset), Error> {
        let seed = self.fine_tune.seed;
        let train = self.data.open(seed)?;
        let test = match &self.test {
            Some(test) => test.open(seed)?,
            None => train.clone(),
        };
        Ok((train, test))
    }

    /// The run: writes itself as `run.toml` into the output folder, loads, trains, measures.
    ///
    /// # Errors
    /// What any part says.
    pub fn run(&self) -> Result<Summary, Error> {
        let path = self.fine_tune.out.join("run.toml");
        let text = self
            .to_toml()
            .map_err(|error| Error::file(&path, error.to_string()))?;
        let base = self.load_model()?;
        let (train, test) = self.load_data()?;
        write_file(&path, text.as_bytes())?;
        self.fine_tune.run(base, &self.recipe, &train, &test)
    }
}

impl DataConfig {
    /// Opens the data set and takes the part that is asked for: first the few-shot draw, over all
    /// classes, then the half of the classes.
    ///
    /// # Errors
    /// What the data set says.
    pub fn open(&self, seed: u64) -> Result<MemoryDataset, Error> {
        let mut data = self.source.open()?;
        if let Some(shots) = self.shots {
            data = FewShot::new(shots, self.shot_seed.unwrap_or(seed)).draw(&data)?;
        }
        match self.classes {
            Classes::All => Ok(data),
            half => Ok(base_new(&data, half)?),
        }
    }
}

impl DataSource {
    /// Opens the data set.
    ///
    /// # Errors
    /// What the data set says.
    pub fn open(&self) -> Result<MemoryDataset, Error> {
        let copy = |dataset: &dyn Dataset| MemoryDataset::copy_of(dataset);
        Ok(match self {
            Self::FashionMnist { path } => copy(&FashionMnist::open(path)?)?,
            Self::DrawnShapes { options } => options.draw()?,
            Self::Coop { path, set } => set.open(path)?,
            Self::ImageFolder { path, options } => options.open(path)?,
            Self::JsonLines { path, options } => options.open(path)?,
            Self::Parquet { path, options } => options.open(path)?,
            Self::Idx { path, options } => options.open(path)?,
            Self::CvBench { path, options } => copy(&options.open(path)?)?,
            Self::Sat { path, options } => options.open(path)?,
        })
    }
}
