use serde::{Deserialize, Serialize};

/// An evaluation on the way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EvaluationPoint {
    /// Training steps made before it.
    pub step: usize,
    /// Share of right answers, 0 to 1: what the best policy is chosen by.
    pub accuracy: f64,
    /// Mean tokens of a completion, end token included.
    pub completion_length: f64,
}
