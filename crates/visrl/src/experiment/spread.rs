use serde::{Deserialize, Serialize};

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

#[cfg(test)]
mod tests {
    use super::*;

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
}
