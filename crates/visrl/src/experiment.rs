//! What readers of the paper measure: recipes side by side, new classes, other data sets.

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use visrl_core::files::FileError;
use visrl_data::{Classes, CvBench, Dataset, base_new, few_shot};
use visrl_reward::rules::CvBench as CvBenchRule;
use visrl_rollout::{EngineConfig, NativeEngine, SamplingParams};
use visrl_train::{Answer, CvBenchAccuracy, Error, Evaluation, Evaluator};
use visrl_vlm::{FeatureStore, Pretrained, VisionLanguageModel};

use crate::summary::write_json;
pub use crate::tables::{BaseNew, CrossMatrix, Spread, harmonic_mean};
use crate::{FineTune, Recipe, Summary};

/// The same base once more: nothing is copied but handles.
pub fn share<M: VisionLanguageModel>(base: &Pretrained<M>) -> Pretrained<M> {
    Pretrained {
        model: base.model.clone(),
        encoder: Arc::clone(&base.encoder),
        files: base.files.clone(),
        name: base.name.clone(),
    }
}

/// Measures a model on a data set's test split, greedily, asked as a recipe asks.
///
/// # Errors
/// What data, encoding or sampling say.
pub fn evaluate<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    test: &dyn Dataset,
) -> Result<Evaluation, Error> {
    let sampling = SamplingParams::greedy(settings.sampling.max_new_tokens);
    evaluate_with(base, recipe, settings, test, &sampling)
}

/// As [`evaluate`], with a sampling of one's own.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_with<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    test: &dyn Dataset,
    sampling: &SamplingParams,
) -> Result<Evaluation, Error> {
    run_evaluator(base, &settings.evaluator(recipe, test)?, sampling)
}

fn run_evaluator<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    evaluator: &Evaluator,
    sampling: &SamplingParams,
) -> Result<Evaluation, Error> {
    let tokenizer = Arc::clone(base.encoder.tokenizer());
    // Every image is asked about once.
    let features = Arc::new(FeatureStore::new(0));
    let mut engine = NativeEngine::new(&base.model, tokenizer, features, EngineConfig::default());
    evaluator.run(&mut engine, &base.encoder, &base.model, sampling)
}

/// Measures a model on CV-Bench, all of it, and counts by task. The recipe should ask for letters,
/// as [`Recipe::for_cv_bench`] does. Right is, strictly, the letter to the letter, such as `(B)`,
/// and leniently what the paper's own evaluation takes for it.
///
/// # Errors
/// As [`evaluate`].
pub fn cv_bench<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    bench: &CvBench,
    sampling: &SamplingParams,
) -> Result<CvBenchEvaluation, Error> {
    let all = FineTune {
        test_per_class: 0,
        ..settings.clone()
    };
    let evaluator = Evaluator {
        lenient: Arc::new(CvBenchRule::default()),
        ..all.evaluator(recipe, bench)?
    };
    let evaluation = run_evaluator(base, &evaluator, sampling)?;
    let of = |right: fn(&Answer) -> bool| {
        CvBenchAccuracy::new(&evaluation.answers, bench.facts(), right)
    };
    Ok(CvBenchEvaluation {
        strict: of(|answer| answer.right),
        lenient: of(|answer| answer.lenient),
        evaluation,
    })
}

/// A model on CV-Bench.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CvBenchEvaluation {
    /// By the strict rule.
    pub strict: CvBenchAccuracy,
    /// By the paper's.
    pub lenient: CvBenchAccuracy,
    /// The evaluation as of any data set.
    pub evaluation: Evaluation,
}

/// Trained on the base half of the classes, tested on both halves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseToNew {
    /// Greedy accuracy of the base model.
    pub zero_shot: BaseNew,
    /// Greedy accuracy after training on the base classes.
    pub tuned: BaseNew,
    /// The training; its test set is the base half.
    pub summary: Summary,
}

/// CoOp's base-to-new protocol: a few-shot draw over all classes, of which the base half is trained
/// on; each half is tested with lists of its own classes.
///
/// # Errors
/// What any part says.
pub fn base_to_new<M: VisionLanguageModel>(
    base: Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    data: &dyn Dataset,
    shots: usize,
) -> Result<BaseToNew, Error> {
    let drawn = few_shot(data, shots, settings.seed)?;
    let seen = base_new(&drawn, Classes::Base)?;
    let unseen = base_new(&drawn, Classes::New)?;
    let new_before = evaluate(&base, recipe, settings, &unseen)?;
    let (summary, tuned) = settings.run_and_keep(base, recipe, &seen, &seen)?;
    let new_after = evaluate(&tuned, recipe, settings, &unseen)?;
    Ok(BaseToNew {
        zero_shot: BaseNew {
            base: summary.before.greedy,
            new: new_before.accuracy,
        },
        tuned: BaseNew {
            base: summary.after.greedy,
            new: new_after.accuracy,
        },
        summary,
    })
}

/// Trains on each data set in turn and tests on all: the paper's "free lunch" table.
///
/// Runs are written below the settings' output folder, one folder for each data set.
///
/// # Errors
/// What any part says.
pub fn cross_dataset<M: VisionLanguageModel>(
    base: &Pretrained<M>,
    recipe: &Recipe,
    settings: &FineTune,
    datasets: &[&dyn Dataset],
    shots: usize,
) -> Result<CrossMatrix, Error> {
    let accuracies = |model: &Pretrained<M>| -> Result<Vec<f64>, Error> {
        let tests = datasets.iter();
        tests
            .map(|&test| Ok(evaluate(model, recipe, settings, test)?.accuracy))
            .collect()
    };
    let mut matrix = CrossMatrix {
        datasets: datasets.iter().map(|d| d.name().to_owned()).collect(),
        zero_shot: accuracies(base)?,
        accuracy: Vec::with_capacity(datasets.len()),
    };
    for &data in datasets {
        let train = few_shot(data, shots, settings.seed)?;
        let settings = FineTune {
            out: settings.out.join(data.name()),
            ..settings.clone()
        };
        let (_, tuned) = settings.run_and_keep(share(base), recipe, &train, &train)?;
        matrix.accuracy.push(accuracies(&tuned)?);
    }
    Ok(matrix)
}

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
        let few_shot = below("few_shot").run(share(base), recipe, &train, data)?;
        let settings = below("base_to_new");
        let base_to_new = base_to_new(share(base), recipe, &settings, data, shots)?;
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
    /// [`Error::Files`], or [`Error::File`] with the field.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read(path).map_err(|source| FileError::io(path, source))?;
        serde_json::from_slice(&text).map_err(|error| Error::file(path, error.to_string()))
    }
}

/// A row of the table that a comparison makes, over seeds. Accuracies are in percent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRow {
    /// The recipe's name, or `zero-shot` with what was asked.
    pub name: String,
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
        let name = &runs.first()?.recipe;
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
