//! The numbers of the paper's tables: base and new classes, spreads over seeds, transfer.

use serde::{Deserialize, Serialize};

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

/// A mean and the sample standard deviation, as over seeds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The mean.
    pub mean: f64,
    /// The sample standard deviation (divided by n - 1); 0 for fewer than two values.
    pub std: f64,
}

impl Spread {
    /// Mean and sample standard deviation of `values`.
    pub fn of(values: &[f64]) -> Self {
        let count = values.len();
        let mean = values.iter().sum::<f64>() / count.max(1) as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        let std = match count {
            0 | 1 => 0.0,
            count => (squares / (count - 1) as f64).sqrt(),
        };
        Self { mean, std }
    }
}

/// Trained on one data set, tested on each: the paper's "free lunch" table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossMatrix {
    /// The data sets, as rows (trained on) and columns (tested on).
    pub datasets: Vec<String>,
    /// Accuracy of the base model on each.
    pub zero_shot: Vec<f64>,
    /// `accuracy[trained on][tested on]`.
    pub accuracy: Vec<Vec<f64>>,
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

    #[test]
    fn spread_is_the_sample_s() {
        let spread = Spread::of(&[2.0, 4.0, 6.0]);
        assert_eq!((spread.mean, spread.std), (4.0, 2.0));
        assert_eq!(
            Spread::of(&[3.0]),
            Spread {
                mean: 3.0,
                std: 0.0
            }
        );
        assert_eq!(Spread::of(&[]), Spread::default());
    }

    #[test]
    fn transfer_leaves_out_what_was_trained_on() {
        let matrix = CrossMatrix {
            datasets: vec!["a".into(), "b".into()],
            zero_shot: vec![0.5, 0.25],
            accuracy: vec![vec![0.75, 0.5], vec![0.25, 0.75]],
        };
        assert_eq!(matrix.gains(), [[0.25, 0.25], [-0.25, 0.5]]);
        assert_eq!(matrix.mean_transfer(), Some(0.0));
    }
}
