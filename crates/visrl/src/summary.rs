//! The outcome of a run in one small file.

use std::path::Path;

use serde::{Deserialize, Serialize};
use visrl_vlm::write_file_atomically;

/// Accuracy of a policy on test examples.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    /// Share of right answers when the most likely token is taken, 0 to 1.
    pub greedy: f64,
    /// Share of right answers when sampled at temperature 1.
    pub t1: f64,
    /// Mean tokens of a greedy completion, end token included.
    pub completion_length: f64,
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
    /// Training steps.
    pub steps: usize,
    /// Seconds of training alone.
    pub seconds: f64,
    /// Test examples that the accuracies were measured on.
    pub test_examples: usize,
    /// Before training.
    pub before: Accuracy,
    /// After training.
    pub after: Accuracy,
}

impl Summary {
    /// Writes the summary as JSON, whole or not at all.
    ///
    /// # Errors
    /// [`visrl_vlm::Error::Io`] with the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), visrl_vlm::Error> {
        let path = path.as_ref();
        let json = serde_json::to_vec_pretty(self).map_err(|source| visrl_vlm::Error::Json {
            path: path.to_owned(),
            source,
        })?;
        write_file_atomically(path, &json)
    }
}
