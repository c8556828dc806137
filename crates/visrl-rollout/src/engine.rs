//! What every engine can do, whatever it runs on.

use visrl_core::Group;

use crate::error::Error;
use crate::request::GroupRequest;

/// Samples groups of completions.
///
/// # What an implementation guarantees
/// * One group per request, in the order of the requests, with `num_generations` completions each
///   that own the request's prompt.
/// * A completion's log-probabilities are those of the full softmax at temperature 1, before
///   penalty, bans and filters, as many as it has tokens; its end token, when there is one, is its
///   last token, and its text is what its tokens decode to.
/// * A completion ends at the first end token, at the first stop string, or at the limit of tokens,
///   and says which.
/// * Ids that the model must not sample never appear, nor do others than a request's choices allow.
/// * The tokens of a group depend on its request alone (up to rounding in the model): not on the
///   other requests, their order or number. Equal requests get equal groups.
/// * What is wrong with one request does not keep the others from their groups.
///
/// [`conformance`](crate::conformance) holds an implementation to this. One that runs a model in
/// this process can build on [`Scheduler`](crate::Scheduler) and
/// [`RunningGroup`](crate::RunningGroup), which know neither model nor cache.
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
