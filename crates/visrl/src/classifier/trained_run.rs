//! The classifier that a run's folder holds.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use serde::Deserialize;
use serde_json::Value;
use visrl_core::files::{self, FileError, listed_table};
use visrl_data::ChoiceRule;
use visrl_vlm::{LoadOptions, Pretrained, QwenVl, load_lora, merge_lora};

use super::classify::{Classifier, Question};
use crate::asks::Asks;
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
use crate::run_config::RunConfig;

/// The largest `config.json` of a run that is read, in bytes.
const MAX_CONFIG: u64 = 256 << 20;

/// Which of the models that a run left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunWeights {
    /// `model/`, that of its last step; adapters are merged.
    Model,
    /// `best/`, the best one of the evaluations on the way.
    Best,
    /// `adapter/`, on the base that it was trained on.
    Adapter,
}

impl RunWeights {
    const ALL: [Self; 3] = [Self::Model, Self::Best, Self::Adapter];

    /// The name of its folder.
    pub fn name(self) -> &'static str {
        match self {
            Self::Model => "model",
            Self::Best => "best",
            Self::Adapter => "adapter",
        }
    }

    /// Of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    fn is_in(self, dir: &Path) -> bool {
        let file = match self {
            Self::Adapter => "adapter_config.json",
            Self::Model | Self::Best => "config.json",
        };
        dir.join(self.name()).join(file).is_file()
    }
}

/// What is read of a run's `config.json`.
#[derive(Deserialize)]
struct Written {
    model: PathBuf,
    recipe: Recipe,
    fine_tune: FineTune,
    #[serde(default)]
    asks: Option<Asks>,
    #[serde(default)]
    fingerprint: Value,
}

impl Classifier<QwenVl> {
    /// The classifier that a run's folder holds: the model `weights`, or else the first that is
    /// there of `model/`, `best/` and `adapter/`; recipe, question and classes as the run had them,
    /// asked as its evaluation asked. What `question` gives replaces the run's.
    ///
    /// # Errors
    /// [`Error::File`] for a folder that is not that of a run or holds no model, a run whose data
    /// have no one question, which must then be given, and choices for a run that shows none; what
    /// the model says.
    pub fn of_run(
        dir: impl AsRef<Path>,
        device: &Device,
        weights: Option<RunWeights>,
        question: Question,
    ) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let path = dir.join("config.json");
        if !path.is_file() {
            let message = "is not the folder of a run: it holds no config.json of one";
            return Err(Error::file(dir, message));
        }
        let written = files::read_value(&path, MAX_CONFIG)?;
        if let Some(name) = listed_table::<Written>(&written) {
            return Err(FileError::field(&path, &name, "is a list, expected an object").into());
        }
        let written =
            Written::deserialize(written).map_err(|source| FileError::json(&path, source))?;
        let question = asked(&path, &written, question)?;
        let base = load(dir, &written.model, device, weights)?;
        Self::new(base, &written.recipe, &written.fine_tune, question)
    }
}

fn asked(path: &Path, written: &Written, given: Question) -> Result<Question, Error> {
    let open = written.fine_tune.choices == ChoiceRule::Open;
    if open && !given.choices.is_empty() {
        let message = "has `fine_tune.choices` of the kind `open`: a run that shows no list is asked \
                       without one; leave `--choices` out";
        return Err(Error::file(path, message));
    }
    let of_run = || {
        let asks = written.asks.as_ref()?;
        let text = match open {
            true => &asks.open_question,
            false => &asks.question,
        };
        (!text.is_empty()).then(|| text.clone())
    };
    let text = match given.text.is_empty() {
        false => Some(given.text),
        true => of_run(),
    };
    let text = text.ok_or_else(|| {
        let message = "names no question that all rows of its data share: give one (`--question`)";
        Error::file(path, message)
    })?;
    let choices = match (open, given.choices.is_empty()) {
        (true, _) => Vec::new(),
        (false, false) => given.choices,
        (false, true) => {
            let names = written.fingerprint["data"]["class_names"].clone();
            serde_json::from_value(names).map_err(|source| FileError::json(path, source))?
        }
    };
    Ok(Question { text, choices })
}

fn load(
    dir: &Path,
    base: &Path,
    device: &Device,
    weights: Option<RunWeights>,
) -> Result<Pretrained<QwenVl>, Error> {
    let found = match weights {
        Some(kind) => kind.is_in(dir).then_some(kind),
        None => RunWeights::ALL.into_iter().find(|kind| kind.is_in(dir)),
    };
    let kind = found.ok_or_else(|| {
        let wanted = match weights {
            Some(kind) => format!("{}/", kind.name()),
            None => "model/, best/ or adapter/".to_owned(),
        };
        Error::file(dir, format!("holds no {wanted}: the run has not saved one"))
    })?;
    let file = dir.join("run.toml");
    let options = match file.is_file() {
        true => RunConfig::from_file(file)?.model.load,
        false => LoadOptions::default(),
    };
    let own = dir.join(kind.name());
    if kind != RunWeights::Adapter {
        return Ok(Pretrained::load_with(own, device, &options)?);
    }
    let base = Pretrained::<QwenVl>::load_with(base, device, &options)?;
    let (model, _) = load_lora(base.model, &own)?;
    Ok(Pretrained {
        model: merge_lora(model),
        ..base
    })
}
