//! From rewards to advantages: how much better a completion is than its siblings.
//!
//! One estimator per file; [`Advantage`] is their configuration.

mod config;
mod estimator;
mod groups;
mod leave_one_out;
mod mean_only;
mod moments;
mod normalize_then_sum;
mod paper;
mod rewards;
mod sum_then_normalize;

pub use config::Advantage;
pub use estimator::AdvantageEstimator;
pub use leave_one_out::LeaveOneOut;
pub use mean_only::MeanOnly;
pub use moments::Bessel;
pub use normalize_then_sum::NormalizeThenSum;
pub use paper::Paper;
pub use rewards::RewardTable;
pub use sum_then_normalize::{Scale, SumThenNormalize};
