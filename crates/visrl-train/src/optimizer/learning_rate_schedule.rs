use serde::{Deserialize, Serialize};

/// How the learning rate changes over the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decay {
    /// Stays at the peak.
    Constant,
    /// Falls in a straight line to 0 at the end: the paper's.
    #[default]
    Linear,
    /// Falls to 0 along half a cosine.
    Cosine,
}

/// A learning rate schedule: a linear warm-up, then a decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LearningRateSchedule {
    /// The peak learning rate.
    pub learning_rate: f64,
    /// Steps of warm-up from 0 to the peak.
    #[serde(default)]
    pub warmup_steps: usize,
    /// What follows the warm-up.
    #[serde(default)]
    pub decay: Decay,
    /// Steps of the whole run; after them the rate is what the decay ends in.
    pub total_steps: usize,
    /// The share of the peak that a decay ends in.
    #[serde(default)]
    pub floor: f64,
}

impl LearningRateSchedule {
    /// The paper's decay, linear to 0, without warm-up.
    pub fn linear(learning_rate: f64, total_steps: usize) -> Self {
        Self {
            learning_rate,
            warmup_steps: 0,
            decay: Decay::Linear,
            total_steps,
            floor: 0.0,
        }
    }

    /// The learning rate of a step, counted from 0; the first decay step has the peak, as in
    /// PyTorch's and Hugging Face's schedulers.
    pub fn at(&self, step: usize) -> f64 {
        if step < self.warmup_steps {
            return self.learning_rate * step as f64 / self.warmup_steps as f64;
        }
        let length = self.total_steps.saturating_sub(self.warmup_steps).max(1);
        let progress = ((step - self.warmup_steps) as f64 / length as f64).min(1.0);
        let share = match self.decay {
            Decay::Constant => 1.0,
            Decay::Linear => 1.0 - progress,
            Decay::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
        };
        self.learning_rate * (self.floor + (1.0 - self.floor) * share)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linear_starts_at_the_peak_and_ends_at_zero() {
        let schedule = LearningRateSchedule::linear(2.0, 4);
        let rates: Vec<f64> = (0..6).map(|step| schedule.at(step)).collect();
        assert_eq!(rates, [2.0, 1.5, 1.0, 0.5, 0.0, 0.0]);
    }

    #[test]
    fn warm_up_comes_before_the_decay() {
        let schedule = LearningRateSchedule {
            warmup_steps: 2,
            decay: Decay::Cosine,
            floor: 0.1,
            ..LearningRateSchedule::linear(1.0, 4)
        };
        let rates: Vec<f64> = (0..5).map(|step| schedule.at(step)).collect();
        assert_eq!(rates[..3], [0.0, 0.5, 1.0]);
        assert!((rates[3] - 0.55).abs() < 1e-12 && (rates[4] - 0.1).abs() < 1e-12);
        assert_eq!(
            LearningRateSchedule {
                decay: Decay::Constant,
                ..schedule
            }
            .at(100),
            1.0
        );
    }
}
