use serde::{Deserialize, Serialize};
use visrl_data::{Classes, Dataset, base_new, few_shot};
use visrl_train::Interrupt;
use visrl_vlm::{Pretrained, VisionLanguageModel};

use super::evaluate::evaluate;
use crate::data_config::DataConfig;
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
use crate::registry::Registry;
use crate::run_config::RunConfig;
use crate::summary::Summary;
use crate::trainer::Trainer;

/// The harmonic mean of two numbers; 0 when both are 0.
pub fn harmonic_mean(a: f64, b: f64) -> f64 {
    match a + b {
        0.0 => 0.0,
        sum => 2.0 * a * b / sum,
    }
}

/// Accuracies on the classes that were trained on and on those that were not, 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BaseNew {
    /// On the base classes: those trained on.
    pub base: f64,
    /// On the new classes.
    pub new: f64,
}

impl BaseNew {
    /// The harmonic mean of the two.
    pub fn harmonic(&self) -> f64 {
        harmonic_mean(self.base, self.new)
    }

    /// The averages over several data sets or seeds. The paper's H is the harmonic mean of these
    /// averages, not the average of harmonic means.
    pub fn average(of: &[Self]) -> Self {
        let count = of.len().max(1) as f64;
        Self {
            base: of.iter().map(|pair| pair.base).sum::<f64>() / count,
            new: of.iter().map(|pair| pair.new).sum::<f64>() / count,
        }
    }
}

/// Trained on the base half of the classes, tested on both halves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BaseToNew {
    /// Greedy accuracy of the base model.
    pub zero_shot: BaseNew,
    /// Greedy accuracy after training on the base classes.
    pub tuned: BaseNew,
    /// As `zero_shot`, by the paper's lenient matching.
    #[serde(default)]
    pub zero_shot_lenient: BaseNew,
    /// As `tuned`, by the paper's lenient matching.
    #[serde(default)]
    pub tuned_lenient: BaseNew,
    /// The training; its test set is the base half.
    pub summary: Summary,
}

/// CoOp's base-to-new protocol: a few-shot draw over all classes, of which the base half is trained
/// on; each half is tested with lists of its own classes, and with the words of
/// [`EvaluationPrompts::BaseToNew`](crate::EvaluationPrompts::BaseToNew) for it where these are set.
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
    let tested = base_new(data, Classes::Base)?;
    let trainer = Trainer::new(base, recipe, &seen).test(&tested);
    let trainer = trainer.settings(of_classes(settings, Classes::Base));
    run_halves(trainer, settings, &base_new(data, Classes::New)?)
}

impl RunConfig {
    /// [`base_to_new`] on the data of the run's file: drawn as it says, trained on the base classes,
    /// tested on `test`, or else on the test split of `data`. The run leaves its file in its folder,
    /// and goes on after the newest checkpoint, as any run does.
    ///
    /// # Errors
    /// [`Error::Setting`] for a file that is of the new classes; as
    /// [`trainer`](Self::trainer) and [`Trainer::launch`].
    pub fn base_to_new(
        &self,
        registry: &Registry,
        interrupt: Interrupt,
    ) -> Result<BaseToNew, Error> {
        let found = self.both_halves(registry, interrupt);
        found.map_err(|error| self.of_file(error))
    }

    fn both_halves(&self, registry: &Registry, interrupt: Interrupt) -> Result<BaseToNew, Error> {
        let whole = DataConfig {
            shots: None,
            shot_seed: None,
            ..self.data.clone()
        };
        let tested = self.test.clone().unwrap_or(whole);
        for (name, data) in [("data", &self.data), ("test", &tested)] {
            if data.classes == Classes::New {
                let message = "are the new ones: base-to-new trains on the base classes, and tests \
                               on both";
                return Err(Error::setting(format!("{name}.classes"), message));
            }
        }
        let half = |data: &DataConfig, classes| DataConfig {
            classes,
            ..data.clone()
        };
        let run = Self {
            data: half(&self.data, Classes::Base),
            test: Some(half(&tested, Classes::Base)),
            ..self.clone()
        };
        let trainer = run.trainer(registry)?.interrupt(interrupt);
        let unseen = half(&tested, Classes::New);
        let unseen = unseen.open_as("test", registry, self.fine_tune.seed)?;
        run_halves(trainer, &self.fine_tune, &unseen)
    }
}

fn of_classes(settings: &FineTune, classes: Classes) -> FineTune {
    FineTune {
        evaluation: settings.evaluation.of_classes(classes),
        ..settings.clone()
    }
}

/// Measures on the classes that are not trained on before and after a run.
fn run_halves<M: VisionLanguageModel>(
    trainer: Trainer<'_, M>,
    settings: &FineTune,
    unseen: &dyn Dataset,
) -> Result<BaseToNew, Error> {
    let of_new = of_classes(settings, Classes::New);
    let recipe = trainer.recipe().clone();
    let new_before = evaluate(trainer.base(), &recipe, &of_new, unseen)?;
    let outcome = trainer.launch()?;
    let (summary, tuned) = (outcome.summary, outcome.model);
    let new_after = evaluate(&tuned, &recipe, &of_new, unseen)?;
    Ok(BaseToNew {
        zero_shot_lenient: BaseNew {
            base: summary.before.greedy_lenient,
            new: new_before.lenient_accuracy,
        },
        tuned_lenient: BaseNew {
            base: summary.after.greedy_lenient,
            new: new_after.lenient_accuracy,
        },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_papers_harmonic_means_come_of_averages() {
        // Zero-shot, SFT, CLS-RL and No-Thinking-RL of the paper's table.
        let rows = [
            (62.10, 66.27, 64.12),
            (67.40, 70.73, 69.03),
            (81.17, 79.15, 80.15),
            (83.42, 81.88, 82.64),
        ];
        for (base, new, harmonic) in rows {
            let found = BaseNew { base, new }.harmonic();
            assert!((found - harmonic).abs() < 0.011, "{found} for {harmonic}");
        }
        let pair = |base, new| BaseNew { base, new };
        let average = BaseNew::average(&[pair(1.0, 0.5), pair(0.5, 0.0)]);
        assert_eq!(average, pair(0.75, 0.25));
        assert_eq!(harmonic_mean(0.0, 0.0), 0.0);
    }
}
