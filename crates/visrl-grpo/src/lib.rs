//! The mathematics of group relative policy optimization: advantages, KL estimators, policy
//! losses, their gradients and metrics.
//!
//! The crate knows no model. It works on plain slices of `f32` or `f64`, padded to `[rows, len]`, one
//! row per completion, and, with the feature `burn`, on burn's tensors (module `tensor`):
//!
//! 1. Rewards of a group of completions become **advantages**: how much better is each than its
//!    siblings? ([`AdvantageEstimator`], [`Advantage`])
//! 2. The learner computes the **log-probabilities** of the same completions.
//! 3. A **policy loss** maps log-probabilities, mask and advantages to a loss, its metrics and
//!    `d loss / d logp` of every token ([`PolicyLoss`], [`GrpoLoss`]), with a **KL** term that
//!    keeps the policy near a reference ([`KlEstimator`], [`Kl`]).
//! 4. The learner pushes these coefficients back through its model.
//!
//! Every default is that of the paper "Think or Not Think" (arXiv 2503.16188).
//!
//! ```
//! use visrl_grpo::{Advantage, AdvantageEstimator, GrpoLoss, PolicyLoss, RewardTable, TokenBatch};
//!
//! # fn main() -> Result<(), visrl_grpo::Error> {
//! // One prompt, two completions: the first is right, the second is wrong.
//! let rewards = RewardTable::new(&[1.0, 0.0], 1, 2)?;
//! let advantages = Advantage::default().advantages(&rewards)?;
//! assert!(advantages[0] > 0.0 && advantages[1] < 0.0);
//!
//! // Their log-probabilities under the policy and the reference, padded to three tokens.
//! let logps = [-0.5, -1.2, -0.1, -0.9, -0.4, 0.0f64];
//! let reference = [-0.5, -1.0, -0.2, -0.9, -0.5, 0.0];
//! let mask = [true, true, true, true, true, false];
//! let batch = TokenBatch::new(3, &logps, &mask, &advantages).with_ref_logps(&reference);
//!
//! let out = GrpoLoss::default().evaluate(&batch)?;
//! assert!(out.grad[0] < 0.0); // descending raises the right completion's probability
//! assert!(out.grad[3] > 0.0); // and lowers the wrong one's
//! assert_eq!(out.grad[5], 0.0); // padding has no gradient
//! # Ok(())
//! # }
//! ```
//!
//! # A batch in pieces
//!
//! A loss divides by counts of the whole batch. Give every piece these counts
//! ([`Normalization`]), and the pieces' losses, gradients and metrics add up to those of the
//! whole, whatever the pieces are.
//!
//! # A loss of your own
//!
//! Implement [`Surrogate`] (what one token is worth) and wrap it in a [`SurrogateLoss`]; KL term,
//! entropy bonus, masks, corrections, metrics and the sequence level come with it.
#![forbid(unsafe_code)]

mod advantage;
mod batch;
mod entropy;
mod error;
mod exp;
mod group_metrics;
mod grpo_loss;
mod importance;
mod kernel;
mod kl;
mod lanes;
mod loss;
mod loss_batch;
mod metrics;
mod normalization;
mod off_policy;
mod pieces;
mod policy_loss;
mod real;
mod schedule;
mod surrogate_loss;
#[cfg(feature = "burn")]
pub mod tensor;
mod terms;

pub use advantage::{
    Advantage, AdvantageEstimator, Bessel, LeaveOneOut, MeanOnly, NormalizeThenSum, Paper,
    RewardTable, Scale, SumThenNormalize,
};
pub use batch::TokenBatch;
pub use error::{Error, Result};
pub use group_metrics::{GroupMetrics, RewardRange};
pub use grpo_loss::GrpoLoss;
pub use importance::{CorrectionMode, ImportanceCorrection, ImportanceLevel};
pub use kl::{CorrectedKl, K1, K2, K3, Kl, KlEstimator};
pub use loss::{
    Aggregation, Cispo, Clip, Clipped, DrGrpo, Loss, OnPolicy, RowView, Sapo, Surrogate, Term,
    TokenView, Vespo,
};
pub use loss_batch::LossBatch;
pub use metrics::LossMetrics;
pub use normalization::Normalization;
pub use policy_loss::{LossOutput, LossSummary, PolicyLoss};
pub use real::Real;
pub use schedule::{ReferenceRefresh, Schedule};
pub use surrogate_loss::SurrogateLoss;
pub use terms::{EmptyRows, Terms};
