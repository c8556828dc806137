//! From rewards to advantages: how much better a completion is than its siblings.
//!
//! One estimator per file; [`Advantage`] is their configuration.

pub(crate) mod config;
pub(crate) mod estimator;
pub(crate) mod leave_one_out;
pub(crate) mod mean_only;
pub(crate) mod moments;
pub(crate) mod normalize_then_sum;
pub(crate) mod paper;
pub(crate) mod rewards;
pub(crate) mod sum_then_normalize;

pub use config::Advantage;
pub use estimator::AdvantageEstimator;
pub use leave_one_out::LeaveOneOut;
pub use mean_only::MeanOnly;
pub use moments::Bessel;
pub use normalize_then_sum::NormalizeThenSum;
pub use paper::Paper;
pub use rewards::RewardTable;
pub use sum_then_normalize::{Scale, SumThenNormalize};
