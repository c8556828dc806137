//! Log-softmax over a vocabulary, and the entropy.

use super::vector::{exp, max, sum, sum_of};

/// The parts of a log-softmax: `log p(x) = (x - max) - log_sum`.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogSoftmax {
    max: f32,
    log_sum: f32,
}

impl LogSoftmax {
    /// Of logits; nothing when one is NaN or plus infinity, or all are minus infinity.
    pub(super) fn of(values: &[f32]) -> Option<Self> {
        let max = max(values);
        let sum = sum_of(values, |value| exp(value - max));
        (max.is_finite() && !sum.is_nan()).then(|| Self {
            max,
            log_sum: sum.ln() as f32,
        })
    }

    /// Of logits, with their probabilities.
    pub(super) fn with_probabilities(values: &[f32], out: &mut Vec<f32>) -> Option<Self> {
        let max = max(values);
        out.clear();
        out.extend(values.iter().map(|value| exp(value - max)));
        let sum = sum(out);
        if !max.is_finite() || sum.is_nan() {
            return None;
        }
        let divisor = sum as f32;
        out.iter_mut().for_each(|weight| *weight /= divisor);
        Some(Self {
            max,
            log_sum: sum.ln() as f32,
        })
    }

    /// The log-probability of a logit in nats.
    pub(super) fn logp(self, logit: f32) -> f32 {
        (logit - self.max) - self.log_sum
    }

    /// The entropy in nats of these logits with these probabilities: `-sum p log p`.
    pub(super) fn entropy(self, logits: &[f32], probabilities: &[f32]) -> f64 {
        // What has no probability adds nothing, however far off its logit is.
        let terms = logits.iter().zip(probabilities).filter(|(_, p)| **p > 0.0);
        -terms
            .map(|(&logit, &p)| f64::from(p) * f64::from(self.logp(logit)))
            .sum::<f64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wants_numbers() {
        assert!(LogSoftmax::of(&[]).is_none());
        for bad in [f32::NAN, f32::INFINITY] {
            for at in [0, 20, 33] {
                let mut values = [0.5; 34];
                values[at] = bad;
                assert!(LogSoftmax::of(&values).is_none());
                assert!(LogSoftmax::with_probabilities(&values, &mut Vec::new()).is_none());
            }
        }
        assert!(LogSoftmax::of(&[f32::NEG_INFINITY; 3]).is_none());
        let norm = LogSoftmax::of(&[f32::NEG_INFINITY, 2.0]).unwrap();
        assert_eq!(norm.logp(2.0), 0.0);
        assert_eq!(norm.logp(f32::NEG_INFINITY), f32::NEG_INFINITY);
    }

    #[test]
    fn entropy_of_equals_is_the_logarithm_of_their_number() {
        let logits = [1.5, 1.5, f32::NEG_INFINITY, 1.5, 1.5];
        let mut probabilities = Vec::new();
        let norm = LogSoftmax::with_probabilities(&logits, &mut probabilities).unwrap();
        assert!((norm.entropy(&logits, &probabilities) - 4f64.ln()).abs() < 1e-6);
    }
}
