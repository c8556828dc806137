//! What a learner tells.

use serde::{Deserialize, Serialize};
use visrl_grpo::LossMetrics;

use super::drift::Drift;

/// What an update did.
#[derive(Clone, Debug)]
pub struct LearnReport {
    /// The loss before the (last) update.
    pub loss: f64,
    /// What the loss saw: KL, ratios, clip fractions, entropy.
    pub metrics: LossMetrics,
    /// How far the engine's log-probabilities were from those of the policy before the first
    /// update; nothing where it reported none.
    pub drift: Option<Drift>,
    /// Global norm of the gradient before clipping.
    pub grad_norm: f64,
    /// Groups in which some completion has an advantage; the others teach nothing but to stay near
    /// the reference.
    pub effective_groups: usize,
    /// Where the time went, over all updates of the batch.
    pub times: LearnTimes,
}

/// Seconds of the phases of an update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearnTimes {
    /// Log-probabilities under the reference policy.
    pub reference: f64,
    /// The policy's forward pass, its head and the loss included.
    pub forward: f64,
    /// From the loss's gradients to those of the parameters.
    pub backward: f64,
    /// Clipping, the optimizer's step and, where it is its turn, the reference's refresh.
    pub optimizer: f64,
}
