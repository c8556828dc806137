//! The outcome of a run in one small file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_core::files::{FileError, write_file};
use visrl_train::{EvaluationPoint, MemoryPlan, StopCause, Warning};

use crate::before_after::Accuracy;
use crate::evaluation_setting::EvaluationSetting;
use crate::loss_setting::LossSetting;

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

/// The names of a run's data sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataNames {
    /// What it was trained on.
    pub train: String,
    /// What it was tested on.
    pub test: String,
}

/// What a run did, for `summary.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The recipe's name.
    pub recipe: String,
    /// The rule that decided what was right.
    pub matcher: String,
    /// The rules that completions were rewarded by; those of one's own by their names.
    #[serde(default)]
    pub rules: Vec<String>,
    /// The policy loss; one of one's own by its name.
    #[serde(default)]
    pub loss: LossSetting,
    /// The data sets.
    #[serde(default)]
    pub data: DataNames,
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
    /// What was warned of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// Seconds of training alone.
    pub seconds: f64,
    /// How evaluations asked, on which rows and images.
    #[serde(default)]
    pub evaluation: EvaluationSetting,
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
    /// [`FileError`] with the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), FileError> {
        write_json(path.as_ref(), self)
    }
}

/// Writes a value as JSON, whole or not at all.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<(), FileError> {
    let json = serde_json::to_vec_pretty(value).map_err(|source| FileError::json(path, source))?;
    write_file(path, &json)
}
