use serde::{Deserialize, Serialize};

/// When a training example's list of choices is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListSchedule {
    /// Anew in each epoch: other names in another order each time that an example comes.
    #[default]
    EachEpoch,
    /// Once, as the paper's data files have it: an example keeps its names and their order.
    Fixed,
}

impl ListSchedule {
    /// The round whose lists an epoch shows, for [`ChoiceList::draw`](crate::ChoiceList::draw).
    pub fn round(self, epoch: u64) -> u64 {
        match self {
            Self::EachEpoch => epoch,
            Self::Fixed => 0,
        }
    }
}
