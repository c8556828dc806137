//! What an engine asks of a kind of server.

use std::fmt::Debug;
use std::path::Path;

use serde_json::Value;

use super::client::{Client, Failure};
use crate::error::Error;
use crate::request::GroupRequest;

/// Why a server says that a completion ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The model gave an end token, or came to contain a stop string.
    Stopped,
    /// The limit of tokens.
    Length,
}

/// A completion as a server gives it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    /// The prompt as the server reads it, image tokens expanded.
    pub(super) prompt: Vec<u32>,
    /// The tokens, the end token included.
    pub(super) tokens: Vec<u32>,
    /// Their log-probabilities before any filter.
    pub(super) logprobs: Vec<f32>,
    pub(super) ended: Ended,
}

/// A kind of server.
pub(super) trait Server: Debug + Send + Sync {
    /// What is wrong with a request for this kind, before it is sent.
    fn check(&self, request: &GroupRequest) -> Result<(), Error>;

    /// The request for one completion: its JSON but for the seed.
    fn body(&self, request: &GroupRequest, images: &[String]) -> Value;

    /// Sets the seed of a completion.
    fn seed(&self, body: &mut Value, seed: i64);

    /// Where requests are sent to.
    fn path(&self) -> &'static str;

    /// Reads an answer.
    ///
    /// # Errors
    /// The field that is missing or of another form.
    fn read(&self, answer: &Value) -> Result<Answer, String>;

    /// Makes the server sample from the weights of a folder, as it sees it, and forget what it
    /// computed with those before; the weights are then known under this name.
    fn load(&self, client: &Client, folder: &Path, version: &str) -> Result<(), Failure>;

    /// The name of the weights that it samples from; nothing where it cannot tell.
    fn version(&self, client: &Client) -> Result<Option<String>, Failure>;
}
