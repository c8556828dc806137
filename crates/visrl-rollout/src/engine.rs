use std::sync::Arc;

use visrl_core::{Group, Prompt, SeedStream};
use visrl_vlm::ModelInput;

use crate::{Error, SamplingParams};

/// Asks for a group of completions of one prompt.
#[derive(Clone, Debug)]
pub struct GroupRequest {
    /// The prompt.
    pub prompt: Arc<Prompt>,
    /// The prompt as the model reads it.
    pub input: Arc<ModelInput>,
    /// The number of completions, G.
    pub num_generations: usize,
    /// How to sample.
    pub sampling: SamplingParams,
    /// Where random numbers come from.
    pub stream: SeedStream,
    /// First counter of every draw: the training step.
    pub step: u32,
    /// Second counter of every draw: the prompt's number within the step. The third and the
    /// fourth are the sample and the position.
    pub index: u32,
}

/// Samples groups of completions.
///
/// # What an implementation guarantees
/// * One group per request, in the order of the requests, with `num_generations` completions each
///   that own the request's prompt.
/// * A completion's log-probabilities are those of the full softmax at temperature 1, as many as
///   it has tokens; its end token, when there is one, is its last token.
/// * Ids that the model must not sample never appear.
/// * The tokens of a group depend on its request alone (up to rounding in the model): not on the
///   other requests, their order or number.
pub trait RolloutEngine {
    /// Samples all requests.
    ///
    /// # Errors
    /// [`Error`] names the prompt and the parameter at fault.
    fn generate(&mut self, requests: &[GroupRequest]) -> Result<Vec<Group>, Error>;
}

/// An engine that takes over the weights of a model of type `M`.
pub trait PolicySync<M> {
    /// Samples from this policy from now on.
    ///
    /// # Errors
    /// What stands in the way of handing the weights over.
    fn set_policy(&mut self, policy: &M) -> Result<(), Error>;
}
