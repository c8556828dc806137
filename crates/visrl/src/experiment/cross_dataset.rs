use serde::{Deserialize, Serialize};
use visrl_data::{Dataset, few_shot};
use visrl_vlm::{Pretrained, VisionLanguageModel};

use super::evaluate::evaluate;
use crate::error::Error;
use crate::evaluation_setting::EvaluationSetting;
use crate::fine_tune::FineTune;
use crate::recipe::Recipe;
use crate::trainer::Trainer;

/// Trained on one data set, tested on each: the paper's "free lunch" table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossMatrix {
    /// The data sets, as rows (trained on) and columns (tested on).
    pub datasets: Vec<String>,
    /// Accuracy of the base model on each.
    pub zero_shot: Vec<f64>,
    /// `accuracy[trained on][tested on]`.
    pub accuracy: Vec<Vec<f64>>,
    /// How all were asked, on which rows and images.
    #[serde(default)]
    pub evaluation: EvaluationSetting,
}

impl CrossMatrix {
    /// The gains over the base model, `[trained on][tested on]`.
    pub fn gains(&self) -> Vec<Vec<f64>> {
        let row = |row: &Vec<f64>| {
            let pairs = row.iter().zip(&self.zero_shot);
            pairs.map(|(after, before)| after - before).collect()
        };
        self.accuracy.iter().map(row).collect()
    }

    /// The mean gain on data sets that were not trained on; nothing for a single data set.
    pub fn mean_transfer(&self) -> Option<f64> {
        let gains = self.gains();
        let off: Vec<f64> = gains
            .iter()
            .enumerate()
            .flat_map(|(row, gains)| {
                let others = gains
                    .iter()
                    .enumerate()
                    .filter(move |(column, _)| *column != row);
                others.map(|(_, &gain)| gain)
            })
            .collect();
        (!off.is_empty()).then(|| off.iter().sum::<f64>() / off.len() as f64)
    }
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
        evaluation: settings.evaluation.clone(),
    };
    for &data in datasets {
        let train = few_shot(data, shots, settings.seed)?;
        let settings = FineTune {
            out: settings.out.join(data.name()),
            ..settings.clone()
        };
        let trainer = Trainer::new(base.clone(), recipe, &train).settings(settings);
        let tuned = trainer.launch()?.model;
        matrix.accuracy.push(accuracies(&tuned)?);
    }
    Ok(matrix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transfer_leaves_out_what_was_trained_on() {
        let matrix = CrossMatrix {
            datasets: vec!["a".into(), "b".into()],
            zero_shot: vec![0.5, 0.25],
            accuracy: vec![vec![0.75, 0.5], vec![0.25, 0.75]],
            ..CrossMatrix::default()
        };
        assert_eq!(matrix.gains(), [[0.25, 0.25], [-0.25, 0.5]]);
        assert_eq!(matrix.mean_transfer(), Some(0.0));
    }
}
