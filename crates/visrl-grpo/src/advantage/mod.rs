//! From rewards to advantages: how much better a completion is than its siblings.

pub(crate) mod estimator;
pub(crate) mod moments;
pub(crate) mod reward_table;

pub use estimator::{Advantage, AdvantageEstimator, Scale};
pub use moments::Bessel;
pub use reward_table::RewardTable;
