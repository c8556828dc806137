use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use visrl_core::{Group, Prompt, SeedStream};
use visrl_vlm::ModelInput;

use crate::{Error, SamplingParams, TokenChoices};

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
    /// The completions to choose from; nothing leaves the model free.
    pub choices: Option<Arc<TokenChoices>>,
    /// Ends the request early.
    pub cancel: Cancel,
}

impl GroupRequest {
    /// One completion with the default sampling, at step 0 and index 0; set the fields that should
    /// differ.
    pub fn new(prompt: Arc<Prompt>, input: Arc<ModelInput>, stream: SeedStream) -> Self {
        Self {
            prompt,
            input,
            num_generations: 1,
            sampling: SamplingParams::default(),
            stream,
            step: 0,
            index: 0,
            choices: None,
            cancel: Cancel::default(),
        }
    }
}

/// A flag that ends requests from another thread; clones are the same flag.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Ends the requests that hold this flag: their completions stay as they are, with
    /// [`StopReason::Cancelled`](visrl_core::StopReason::Cancelled).
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`cancel`](Self::cancel) was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Samples groups of completions.
///
/// # What an implementation guarantees
/// * One group per request, in the order of the requests, with `num_generations` completions each
///   that own the request's prompt.
/// * A completion's log-probabilities are those of the full softmax at temperature 1, as many as
///   it has tokens; its end token, when there is one, is its last token, and its text is what its
///   tokens decode to.
/// * A completion ends at the first end token, at the first stop string, or at the limit of tokens,
///   and says which.
/// * Ids that the model must not sample never appear, nor do others than a request's choices allow.
/// * The tokens of a group depend on its request alone (up to rounding in the model): not on the
///   other requests, their order or number. Equal requests get equal groups.
/// * What is wrong with one request does not keep the others from their groups.
///
/// [`conformance`](crate::conformance) holds an implementation to this.
pub trait RolloutEngine {
    /// Samples all requests; a group or what went wrong for each, in their order.
    fn generate_each(&mut self, requests: &[GroupRequest]) -> Vec<Result<Group, Error>>;

    /// Samples all requests.
    ///
    /// # Errors
    /// The first [`Error`], which names the prompt and the parameter at fault.
    fn generate(&mut self, requests: &[GroupRequest]) -> Result<Vec<Group>, Error> {
        self.generate_each(requests).into_iter().collect()
    }
}

/// An engine that takes over the weights of a model of type `M`.
pub trait PolicySync<M> {
    /// Samples from this policy from now on.
    ///
    /// # Errors
    /// What stands in the way of handing the weights over.
    fn set_policy(&mut self, policy: &M) -> Result<(), Error>;
}
