//! What the training data of a run ask, for those who use its model.

use serde::{Deserialize, Serialize};
use visrl_data::Dataset;

/// The questions of a data set, in the `config.json` of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asks {
    /// The question where a list is shown; empty where each row has its own.
    pub(crate) question: String,
    /// The question where none is.
    pub(crate) open_question: String,
}

impl Asks {
    /// Those of a data set.
    pub(crate) fn of(data: &dyn Dataset) -> Self {
        Self {
            question: data.question().to_owned(),
            open_question: data.open_question().to_owned(),
        }
    }
}
