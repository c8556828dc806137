//! What a learner tells.

use serde::{Deserialize, Serialize};
use visrl_grpo::LossMetrics;

/// What an update did.
#[derive(Clone, Debug)]
pub struct LearnReport {
    /// The loss before the (last) update.
    pub loss: f64,
    /// What the loss saw: KL, ratios, clip fractions, entropy.
    pub metrics: LossMetrics,
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
