//! How far the engine's log-probabilities are from the learner's.

use std::f64::consts::LN_2;

/// How far the log-probabilities that an engine reported are from those that the learner computes of
/// the same tokens with, it should be, the same weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drift {
    /// Mean of the absolute differences over tokens, in nats.
    pub mean: f64,
    /// The largest of them.
    pub largest: f64,
    /// The share of tokens that one of the two finds more than twice as likely as the other.
    pub beyond: f64,
}

impl Drift {
    /// Of tokens in order; nothing where the engine reported none (NaN).
    pub(super) fn of(learner: &[f32], engine: &[f32]) -> Option<Self> {
        let pairs = learner.iter().zip(engine);
        let differences = pairs.map(|(a, b)| (f64::from(*a) - f64::from(*b)).abs());
        let (mut count, mut sum, mut largest, mut beyond) = (0usize, 0.0, 0.0f64, 0usize);
        for difference in differences.filter(|difference| !difference.is_nan()) {
            count += 1;
            sum += difference;
            largest = largest.max(difference);
            beyond += usize::from(difference > LN_2);
        }
        (count > 0).then(|| Self {
            mean: sum / count as f64,
            largest,
            beyond: beyond as f64 / count as f64,
        })
    }

    /// By the names of a metrics sink.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("drift/mean", self.mean),
            ("drift/largest", self.largest),
            ("drift/beyond", self.beyond),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_reported_does_not_count() {
        let drift = Drift::of(&[-1.0, -2.0, -3.0], &[-1.5, f32::NAN, -2.0]).unwrap();
        assert_eq!((drift.mean, drift.largest, drift.beyond), (0.75, 1.0, 0.5));
        assert_eq!(Drift::of(&[-1.0], &[f32::NAN]), None);
        assert_eq!(Drift::of(&[], &[]), None);
    }
}
