use serde::{Deserialize, Serialize};

/// What a [`RewardSet`](crate::RewardSet) makes of one completion.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scored {
    /// Each rule's own score, unweighted, in the order of the set; `None` where a rule could not
    /// judge the completion or gave no finite number.
    pub scores: Vec<Option<f32>>,
    /// The weighted sum over the rules that could judge it; `None` if no rule of a weight other
    /// than 0 could.
    pub total: Option<f32>,
}
