use serde::{Deserialize, Serialize};
use visrl_data::{Classes, Dataset, base_new, few_shot};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use super::evaluate::evaluate;
use crate::error::Error;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
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
    let [tested, unseen] = [
        base_new(data, Classes::Base)?,
        base_new(data, Classes::New)?,
    ];
    let half = |classes| FineTune {
        evaluation: settings.evaluation.of_classes(classes),
        ..settings.clone()
    };
    let of_new = half(Classes::New);
    let new_before = evaluate(&base, recipe, &of_new, &unseen)?;
    let trainer = Trainer::new(base, recipe, &seen).test(&tested);
    let trainer = trainer.settings(half(Classes::Base));
    let outcome = trainer.launch()?;
    let (summary, tuned) = (outcome.summary, outcome.model);
    let new_after = evaluate(&tuned, recipe, &of_new, &unseen)?;
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
