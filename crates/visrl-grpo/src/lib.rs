//! The mathematics of group relative policy optimization: advantages, KL estimators, policy
//! losses, their gradients and metrics.
//!
//! The crate knows no model and no tensor. It works on slices of `f32` or `f64`: one value per
//! token, rows (completions) one after another, and where each row ends ([`LossBatch`]). Rewards of
//! a group become **advantages** ([`Advantage`]); a **policy loss** maps log-probabilities and
//! advantages to a loss, its metrics and `d loss / d logp` of every token ([`GrpoLoss`]), with a
//! **KL** term that keeps the policy near a reference. A learner pushes these coefficients back
//! through its model.
//!
//! Every default is that of the paper "Think or Not Think" (arXiv 2503.16188):
//!
//! ```
//! use visrl_grpo::{Advantage, AdvantageEstimator, GrpoLoss, LossBatch, PolicyLoss, RewardTable};
//!
//! # fn main() -> Result<(), visrl_grpo::Error> {
//! // One prompt, two completions: the first is right, the second is wrong.
//! let rewards = RewardTable::new(&[1.0, 0.0], 1, 2)?;
//! let advantages = Advantage::default().advantages(&rewards)?;
//!
//! // Log-probabilities of their three and two tokens under the policy and the reference.
//! let ends = [3, 5];
//! let logps = [-0.5, -1.2, -0.1, -0.9, -0.4f64];
//! let reference = [-0.5, -1.0, -0.2, -0.9, -0.5];
//! let batch = LossBatch::new(&ends, &logps, &advantages).with_ref_logps(&reference);
//!
//! let out = GrpoLoss::default().evaluate(&batch)?;
//! assert!(out.grad[0] < 0.0); // descending raises the right completion's probability
//! assert!(out.grad[3] > 0.0); // and lowers the wrong one's
//! # Ok(())
//! # }
//! ```
//!
//! Pieces of a batch with the counts of the whole ([`Normalization`]) add up to it. A loss of your
//! own is a [`Surrogate`] (what one token is worth) in a [`SurrogateLoss`].
#![forbid(unsafe_code)]

mod advantage;
mod beta_schedule;
mod diagnosis;
mod error;
mod evaluation;
mod group_metrics;
mod grpo_loss;
mod kl;
mod loss;
mod loss_batch;
mod metrics;
mod normalization;
mod off_policy_mask;
mod policy_loss;
mod quantile;
mod real;
mod sampler_correction;
mod shared_options;
mod supervised_loss;
mod surrogate_loss;

pub use advantage::{Advantage, AdvantageEstimator, Bessel, RewardTable, Scale};
pub use beta_schedule::{BetaSchedule, ReferenceRefresh};
pub use diagnosis::Diagnosis;
pub use error::{Error, Result};
pub use group_metrics::GroupMetrics;
pub use grpo_loss::GrpoLoss;
pub use kl::KlEstimator;
pub use loss::{
    Aggregation, Cispo, Clip, Clipped, LossFamily, OnPolicy, RowView, Sapo, Surrogate, Term, Vespo,
};
pub use loss_batch::LossBatch;
pub use metrics::LossMetrics;
pub use normalization::Normalization;
pub use policy_loss::{LossOutput, LossSummary, PolicyLoss};
pub use real::Real;
pub use sampler_correction::{CorrectionMode, ImportanceCorrection, RowCorrection};
pub use shared_options::{EmptyRows, ImportanceLevel, SharedOptions};
pub use supervised_loss::SupervisedLoss;
pub use surrogate_loss::SurrogateLoss;
