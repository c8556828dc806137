use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::files::read_json;
use visrl_data::{Dataset, few_shot};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use super::base_to_new::{BaseNew, BaseToNew, base_to_new};
use super::spread::Spread;
use crate::error::Error;
use crate::evaluation_setting::EvaluationSetting;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
use crate::summary::{Summary, write_json};

/// The largest file of a comparison that is read, in bytes.
const LIMIT: u64 = 1 << 30;

/// One recipe under one seed in a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The recipe's name.
    pub recipe: String,
    /// The seed of draw and training.
    pub seed: u64,
    /// Few-shot training on all classes.
    pub few_shot: Summary,
    /// Training on the base half of the classes.
    pub base_to_new: BaseToNew,
}

impl Comparison {
    /// Compares: a few-shot run on all classes and a base-to-new run, below `out/RECIPE/seed-SEED`.
    /// One that is there already, from an interrupted comparison, is read.
    ///
    /// # Errors
    /// What any part says.
    pub fn run<M: VisionLanguageModel>(
        base: &Pretrained<M>,
        recipe: &Recipe,
        settings: &FineTune,
        data: &dyn Dataset,
        shots: usize,
    ) -> Result<Self, Error> {
        let out = settings.out.join(&recipe.name);
        let out = out.join(format!("seed-{}", settings.seed));
        let path = out.join("comparison.json");
        if path.exists() {
            return Self::read(&path);
        }
        let below = |name: &str| FineTune {
            out: out.join(name),
            ..settings.clone()
        };
        let train = few_shot(data, shots, settings.seed)?;
        let few_shot = below("few_shot").run(base.clone(), recipe, &train, data)?;
        let settings = below("base_to_new");
        let base_to_new = base_to_new(base.clone(), recipe, &settings, data, shots)?;
        let comparison = Self {
            recipe: recipe.name.clone(),
            seed: settings.seed,
            few_shot,
            base_to_new,
        };
        write_json(&path, &comparison)?;
        Ok(comparison)
    }

    /// Reads a comparison that was written.
    ///
    /// # Errors
    /// [`Error::Files`], with the field.
    pub fn read(path: &Path) -> Result<Self, Error> {
        Ok(read_json(path, LIMIT)?)
    }
}

/// A row of the table that a comparison makes, over seeds. Accuracies are in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// The recipe's name, or `zero-shot` with what was asked.
    pub name: String,
    /// How it was asked, on which rows and images.
    #[serde(default)]
    pub evaluation: EvaluationSetting,
    /// Few-shot, greedy.
    pub greedy: Spread,
    /// Few-shot, at temperature 1.
    pub t1: Spread,
    /// On the base classes, trained on these.
    pub base: Spread,
    /// On the new classes.
    pub new: Spread,
    /// The harmonic mean of the two averages.
    pub harmonic: f64,
    /// Mean tokens of a few-shot completion.
    pub length: Spread,
    /// Seconds of few-shot training; 0 for zero-shot.
    pub seconds: Spread,
}

impl ComparisonRow {
    /// Two rows for the runs of one recipe: before and after training; nothing without a run.
    pub fn of(runs: &[Comparison]) -> Option<[Self; 2]> {
        let first = runs.first()?;
        let name = &first.recipe;
        let percent = |value: &dyn Fn(&Comparison) -> f64| {
            Spread::of(
                &runs
                    .iter()
                    .map(|run| 100.0 * value(run))
                    .collect::<Vec<_>>(),
            )
        };
        let plain = |value: &dyn Fn(&Comparison) -> f64| {
            Spread::of(&runs.iter().map(value).collect::<Vec<_>>())
        };
        let row = |name: String, after: bool| {
            let accuracy = move |run: &Comparison| match after {
                true => run.few_shot.after,
                false => run.few_shot.before,
            };
            let pair = move |run: &Comparison| match after {
                true => run.base_to_new.tuned,
                false => run.base_to_new.zero_shot,
            };
            let pairs: Vec<BaseNew> = runs.iter().map(pair).collect();
            Self {
                name,
                evaluation: first.few_shot.evaluation.clone(),
                greedy: percent(&|run| accuracy(run).greedy),
                t1: percent(&|run| accuracy(run).t1),
                base: percent(&|run| pair(run).base),
                new: percent(&|run| pair(run).new),
                harmonic: 100.0 * BaseNew::average(&pairs).harmonic(),
                length: plain(&|run| accuracy(run).completion_length),
                seconds: plain(&|run| if after { run.few_shot.seconds } else { 0.0 }),
            }
        };
        Some([
            row(format!("zero-shot, asked as in {name}"), false),
            row(name.clone(), true),
        ])
    }
}
