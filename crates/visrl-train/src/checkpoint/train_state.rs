//! What a run knows beyond its tensors.

use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::files::{FileError, read_json, write_file};

use super::learner_state::LearnerState;
use crate::error::Error;
use crate::evaluation::EvaluationPoint;
use crate::log::{Warning, Watch};

/// The largest file that is read; evaluations are a line each.
const MOST_BYTES: u64 = 1 << 28;

/// A run between two steps. With the tensors of its checkpoint it says all that the rest of the
/// run depends on; random numbers need no state, as they are functions of seed and place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainState {
    /// Steps made: the number of the next one, and the place in the schedule.
    pub step: usize,
    /// Examples dealt: the place in the order of the data.
    pub dealt: usize,
    /// Seconds spent in steps.
    pub seconds: f64,
    /// The learner's counters.
    pub learner: LearnerState,
    /// Whether the run's own stop condition held after the last step.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub condition_met: bool,
    /// What was warned of so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// What was seen of what the steps teach.
    #[serde(default, skip_serializing_if = "Watch::is_new")]
    pub watch: Watch,
    /// The evaluations so far.
    pub evaluations: Vec<EvaluationPoint>,
    /// What the run's owner wants to find again: its settings, numbers measured before the first
    /// step.
    pub note: serde_json::Value,
}

impl TrainState {
    /// The evaluation with the highest accuracy, the earliest of equals.
    pub fn best(&self) -> Option<&EvaluationPoint> {
        let better =
            |best: &'_ EvaluationPoint, new: &EvaluationPoint| new.accuracy > best.accuracy;
        self.evaluations
            .iter()
            .reduce(|best, new| if better(best, new) { new } else { best })
    }

    /// Evaluations since the best one.
    pub fn evaluations_since_best(&self) -> usize {
        let Some(best) = self.best().map(|best| best.step) else {
            return 0;
        };
        let later = self.evaluations.iter().filter(|point| point.step > best);
        later.count()
    }

    pub(crate) fn read(path: &Path) -> Result<Self, Error> {
        Ok(read_json(path, MOST_BYTES)?)
    }

    pub(crate) fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self).map_err(|error| FileError::json(path, error))?;
        Ok(write_file(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_of_equals_is_best() {
        let mut state = TrainState::default();
        assert_eq!((state.best(), state.evaluations_since_best()), (None, 0));
        for (step, accuracy) in [(5, 0.4), (10, 0.6), (15, 0.6), (20, 0.5)] {
            state.evaluations.push(EvaluationPoint {
                step,
                accuracy,
                completion_length: 1.0,
            });
        }
        assert_eq!(state.best().map(|best| best.step), Some(10));
        assert_eq!(state.evaluations_since_best(), 2);
    }
}
