//! The outcome of a run in one small file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::files::{FileError, write_file};
use visrl_train::{Evaluation, EvaluationPoint, MemoryPlan, StopCause};

/// Accuracy of a policy on test examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of right answers when the most likely token is taken, 0 to 1.
    pub greedy: f64,
    /// Share of right answers when sampled at temperature 1.
    pub t1: f64,
    /// As `greedy`, by the paper's lenient matching.
    pub greedy_lenient: f64,
    /// As `t1`, by the paper's lenient matching.
    pub t1_lenient: f64,
    /// As `greedy`, when the answer must be one of the choices; nothing for open questions.
    #[serde(default)]
    pub greedy_guided: Option<f64>,
    /// Mean tokens of a greedy completion, end token included.
    pub completion_length: f64,
}

/// A policy measured greedily and at temperature 1 with no filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The most likely token each time.
    pub greedy: Evaluation,
    /// Sampled.
    pub t1: Evaluation,
}

impl Measured {
    /// The numbers of the summary.
    pub fn accuracy(&self) -> Accuracy {
        Accuracy {
            greedy: self.greedy.accuracy,
            t1: self.t1.accuracy,
            greedy_lenient: self.greedy.lenient_accuracy,
            t1_lenient: self.t1.lenient_accuracy,
            greedy_guided: self.greedy.guided_accuracy,
            completion_length: self.greedy.completion_length,
        }
    }
}

/// The estimate before the first step, and what it came to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Memory {
    /// What was planned.
    pub plan: MemoryPlan,
    /// What the process held in bytes when it was planned: program, data and parameters. Nothing
    /// where the system does not tell it.
    #[serde(default)]
    pub held: Option<u64>,
    /// The process's peak at the end in bytes, where the system tells it.
    pub peak: Option<u64>,
}

impl Memory {
    /// What the plan is to be compared with: the parameters and all that came in the course of the
    /// run, evaluations and what the allocator kept included.
    pub fn needed(&self) -> Option<u64> {
        let more = self.peak?.checked_sub(self.held?)?;
        Some(more + self.plan.parameters)
    }
}

/// What a run did, for `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The recipe's name.
    pub recipe: String,
    /// The rule that decided what was right.
    pub matcher: String,
    /// The seed.
    pub seed: u64,
    /// Training steps made.
    pub steps: usize,
    /// Why it ended.
    pub ended: StopCause,
    /// The evaluations on the way.
    #[serde(default)]
    pub evaluations: Vec<EvaluationPoint>,
    /// The best of them.
    pub best: Option<EvaluationPoint>,
    /// What these were made on: `val`, or `test`.
    pub validated_on: String,
    /// Seconds of training alone.
    pub seconds: f64,
    /// Test examples that the accuracies were measured on.
    pub test_examples: usize,
    /// Before training.
    pub before: Accuracy,
    /// After training.
    pub after: Accuracy,
    /// Seconds of the greedy evaluation after training.
    pub evaluation_seconds: f64,
    /// What was needed of memory.
    pub memory: Memory,
}

impl Summary {
    /// Writes the summary as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`visrl_vlm::Error::Io`] with the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        write_json(path.as_ref(), self)
    }
}

/// Writes a value as JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_vec_pretty(value).map_err(|source| FileError::json(path, source))?;
    write_file(path, &json)
}
