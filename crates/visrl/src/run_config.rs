//! A whole run as a file.

use std::path::{Path, PathBuf};

use serde::de::value::{MapAccessDeserializer, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use toml::Table;
use visrl_core::files::{FileError, listed_table};
use visrl_data::{MemoryDataset, Split};
use visrl_vlm::{LoadOptions, Pretrained, QwenVl};

use crate::bounds::{check_file, check_numbers};
use crate::data_config::DataConfig;
use crate::device::parse_device;
use crate::error::Error;
use crate::file_version::check_version;
use crate::fine_tune::FineTune;
use crate::idle_settings::warn_of_both;
use crate::load_check::of_load;
use crate::loss_setting::LossSetting;
use crate::read_from::ReadFrom;
use crate::recipe::Recipe;
use crate::registry::Registry;
use crate::run::RunFile;
use crate::run_folder::RunFolder;
use crate::summary::Summary;
use crate::toml_place::placed;
use crate::trainer::Trainer;
use crate::unread_keys::refuse_unread;

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
    /// The file that the run was read from.
    #[serde(skip)]
    pub read_from: ReadFrom,
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
    /// Folder of an adapter in PEFT's format, which the model carries; a training goes on with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adapter: Option<PathBuf>,
    /// What is not as the folder says.
    #[serde(default)]
    pub load: LoadOptions,
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
    SftReference,
    ClsRl,
    ThinkAfterAnswer,
    Adaptive,
    NoThinkingRl,
}

impl Named {
    fn recipe(self) -> Recipe {
        match self {
            Self::Sft => Recipe::sft(),
            Self::SftReference => Recipe::sft_reference(),
            Self::ClsRl => Recipe::cls_rl(),
            Self::ThinkAfterAnswer => Recipe::think_after_answer(),
            Self::Adaptive => Recipe::adaptive(),
            Self::NoThinkingRl => Recipe::no_thinking_rl(),
        }
    }
}

/// Refuses a list in a table's place, which would be read by the order of its values.
fn refuse_lists(file: &Table) -> Result<(), Error> {
    let file = serde_json::to_value(file).unwrap_or_default();
    match listed_table::<RunConfig>(&file) {
        Some(name) => Err(Error::setting(name, "is a list, expected a table")),
        None => Ok(()),
    }
}

impl RunConfig {
    /// Reads a configuration.
    ///
    /// # Errors
    /// [`Error::Toml`]: the line, the field and what was expected there; [`Error::Setting`] for a
    /// number out of its bound, for a list in a table's place, for a key that nothing reads beside
    /// the others, and for a `version` that is none.
    pub fn from_toml(text: &str) -> Result<Self, Error> {
        Self::read(text, None)
    }

    /// Reads a configuration, of this file where it is one.
    fn read(text: &str, file: Option<&Path>) -> Result<Self, Error> {
        let table: Table = toml::from_str(text)?;
        refuse_lists(&table)?;
        let numbers = check_file(&table);
        let run = match toml::from_str::<Self>(text) {
            // A name that is none says more than the number behind it.
            Err(error) if error.message().contains("unknown field") => Err(placed(text, error)),
            run => numbers.and_then(|()| run.map_err(|error| placed(text, error))),
        };
        let mut run = run?;
        refuse_unread(text, &run)?;
        let name = file.map(|file| file.display().to_string());
        check_version(run.version.as_deref(), name.as_deref())?;
        warn_of_both(&table, name.as_deref());
        if let Some(file) = file {
            run.read_from = file.into();
        }
        Ok(run)
    }

    /// Reads a file and checks its numbers.
    ///
    /// # Errors
    /// [`Error::Files`]; [`Error::File`] with the line, the field and what was expected there.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|source| FileError::io(path, source))?;
        let run = Self::read(&text, Some(path));
        let run = run.and_then(|run| run.fine_tune.validate().map(|()| run));
        run.map_err(|error| Error::file(path, error.to_string()))
    }

    /// The configuration as a file, with the version that is running. Parts of one's own are in it
    /// by their names.
    ///
    /// # Errors
    /// [`Error::ToToml`]: the setting that no file can hold, such as a path that is not UTF-8.
    pub fn to_toml(&self) -> Result<String, Error> {
        Ok(toml::to_string_pretty(&Self {
            version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            ..self.clone()
        })?)
    }

    /// Checks every number and the question, before anything is read or written.
    ///
    /// # Errors
    /// [`Error::Setting`] with the name of the first that is out of its bound, and for a question
    /// that is empty or holds a token that ends a turn.
    pub fn validate(&self) -> Result<(), Error> {
        self.check().map_err(|error| self.of_file(error))
    }

    /// An error with the name of the run's file in front, where it was read from one and the error
    /// is that of a setting.
    pub fn of_file(&self, error: Error) -> Error {
        self.read_from.named(error)
    }

    fn check(&self) -> Result<(), Error> {
        check_numbers("", self)?;
        self.check_paths()?;
        for (name, data) in [("data", Some(&self.data)), ("test", self.test.as_ref())] {
            if let Some(data) = data {
                data.check_question(name)?;
                data.warn_of_idle(name);
            }
        }
        self.fine_tune.validate()
    }

    /// Whether each path is one.
    fn check_paths(&self) -> Result<(), Error> {
        let data = self.data.source.path();
        let test = self.test.as_ref().and_then(|test| test.source.path());
        for (name, path) in [
            ("model.path", Some(&*self.model.path)),
            ("model.adapter", self.model.adapter.as_deref()),
            ("data.source.path", data),
            ("test.source.path", test),
        ] {
            if path.is_some_and(|path| path.as_os_str().is_empty()) {
                return Err(Error::setting(name, "is empty, expected a path"));
            }
        }
        Ok(())
    }

    /// Loads the model, with its adapter.
    ///
    /// # Errors
    /// [`Error::Device`] for a device that cannot be had; what checkpoint and adapter say.
    pub fn load_model(&self) -> Result<Pretrained<QwenVl>, Error> {
        let device = parse_device(&self.device).map_err(|error| self.of_file(error.into()))?;
        let model = &self.model;
        let base = Pretrained::load_with(&model.path, &device, &model.load)
            .map_err(|error| self.of_file(of_load(error)))?;
        Ok(match &model.adapter {
            Some(dir) => base.with_adapter(dir)?,
            None => base,
        })
    }

    /// Opens the data: what is trained on, and what is tested on.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a data set that the registry does not know; what the data set
    /// says.
    pub fn load_data(&self, registry: &Registry) -> Result<(MemoryDataset, MemoryDataset), Error> {
        self.open_data(registry)
            .map_err(|error| self.of_file(error))
    }

    fn open_data(&self, registry: &Registry) -> Result<(MemoryDataset, MemoryDataset), Error> {
        let seed = self.fine_tune.seed;
        let train = self.data.open_to_train("data", registry, seed)?;
        self.data.check_split("data", &train, Split::Train)?;
        let (name, of_test) = match &self.test {
            Some(test) => ("test", test),
            None => ("data", &self.data),
        };
        let test = match &self.test {
            Some(test) => test.open_as(name, registry, seed)?,
            None => train.clone(),
        };
        of_test.check_split(name, &test, Split::Test)?;
        Ok((train, test))
    }

    /// The run, loaded and ready: sinks, observers and the like can be added before its
    /// [`launch`](Trainer::launch). It leaves this configuration as `run.toml` in its folder.
    ///
    /// # Errors
    /// [`Error::UnknownName`] for a part of one's own that the registry does not know; what any
    /// part says.
    pub fn trainer(&self, registry: &Registry) -> Result<Trainer<'static, QwenVl>, Error> {
        self.prepare(registry).map_err(|error| self.of_file(error))
    }

    fn prepare(&self, registry: &Registry) -> Result<Trainer<'static, QwenVl>, Error> {
        self.validate()?;
        let file = RunFile {
            read_from: self.read_from.clone(),
            text: self.to_toml()?,
            value: serde_json::to_value(self)
                .map_err(|error| Error::file("run.toml", error.to_string()))?,
        };
        let mut recipe = self.recipe.clone();
        registry.resolve_rules(&mut recipe.rewards)?;
        let loss = match &self.fine_tune.loss {
            LossSetting::Custom(name) => Some((name.clone(), registry.new_loss(name)?)),
            LossSetting::Grpo(_) => None,
        };
        // A wrong device is told before anything is read.
        parse_device(&self.device)?;
        let sources = [Some(&self.data), self.test.as_ref()].into_iter().flatten();
        let read = sources.filter_map(|data| data.source.path());
        RunFolder::check(&self.fine_tune.out, read)?;
        let data = self.load_data(registry)?;
        let base = self.load_model()?;
        let tested = self.test.as_ref().unwrap_or(&self.data).classes;
        let settings = FineTune {
            evaluation: self.fine_tune.evaluation.of_classes(tested),
            ..self.fine_tune.clone()
        };
        let trainer = Trainer::of_file(base, recipe, data, file).settings(settings);
        Ok(match loss {
            Some((name, loss)) => trainer.boxed_loss(name, loss),
            None => trainer,
        })
    }

    /// Runs.
    ///
    /// # Errors
    /// As [`Trainer::launch`].
    pub fn run(&self) -> Result<Summary, Error> {
        self.run_with(&Registry::new())
    }

    /// Runs with parts of one's own that the configuration names.
    ///
    /// # Errors
    /// As [`trainer`](Self::trainer) and [`Trainer::launch`].
    pub fn run_with(&self, registry: &Registry) -> Result<Summary, Error> {
        Ok(self.trainer(registry)?.launch()?.summary)
    }
}
