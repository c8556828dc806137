use serde::{Deserialize, Serialize};
use visrl_grpo::ReferenceRefresh;
use visrl_vlm::Trainable;

use super::reference::ReferencePolicy;
use crate::optimizer::{AdamWSettings, ParameterGroup};

/// How a [`Learner`](crate::Learner) updates the policy. The defaults are the paper's where it says
/// one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LearnerConfig {
    /// The optimizer.
    pub adamw: AdamWSettings,
    /// Parameters with a learning rate or weight decay of their own; the first group that a
    /// parameter belongs to counts. Default none.
    pub parameter_groups: Vec<ParameterGroup>,
    /// The largest global norm of the gradient.
    pub max_grad_norm: f64,
    /// Optimizer updates per batch of completions; from the second on, the log-probabilities of
    /// the first are the old policy's.
    pub updates_per_batch: usize,
    /// Groups that run through the model together; 0 takes all. The result does not depend on it.
    pub micro_batch_groups: usize,
    /// Whether image and prompt are encoded once for all completions of a group (default), or once
    /// for each, as a plain repeated batch does. The result is the same up to rounding; without
    /// sharing it costs time and memory, and is there to check this with.
    pub shared_prefix: bool,
    /// Layers whose activations are computed again together in the backward pass instead of being
    /// kept from the forward pass; 0 (default) keeps all. The result is the same up to rounding. It
    /// saves memory that grows with layers times tokens, for the time of one more forward pass;
    /// about the square root of the number of layers saves most. The vision tower's activations
    /// are kept in any case while its backward pass runs.
    pub recompute: usize,
    /// Tokens that go through the head together.
    pub head_chunk: usize,
    /// The parts of the model that are trained.
    pub trainable: Trainable,
    /// What the KL term compares the policy with, where the loss has one.
    pub reference: ReferencePolicy,
    /// When and how the reference follows the policy. By default it never does, as in the paper.
    pub reference_refresh: ReferenceRefresh,
}

impl Default for LearnerConfig {
    fn default() -> Self {
        Self {
            adamw: AdamWSettings::default(),
            parameter_groups: Vec::new(),
            max_grad_norm: 1.0,
            updates_per_batch: 1,
            micro_batch_groups: 0,
            shared_prefix: true,
            recompute: 0,
            head_chunk: 1024,
            trainable: Trainable::default(),
            reference: ReferencePolicy::default(),
            reference_refresh: ReferenceRefresh::default(),
        }
    }
}
